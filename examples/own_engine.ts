/**
 * An engine of one's own: raw deflate by the web's CompressionStream, so it runs in browsers, too.
 * Here it packs the pages of one qpl packet and unpacks them again.
 *
 * deno run examples/own_engine.ts
 */
import { CodecError, type Engine, methodByName } from "@multifd/multifd/core";

async function through(bytes: Uint8Array, stream: CompressionStream | DecompressionStream) {
  const body = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream().pipeThrough(stream);
  return new Uint8Array(await new Response(body).arrayBuffer());
}

/** Knows pages of raw deflate, which is what the methods qpl is made of, and nothing else. */
export const webStreams: Engine = {
  name: "web-streams",
  encodes: ["deflate-pages"],
  decodes: ["deflate-pages"],
  pageEncoder: (_format, { pageSize }) => ({
    async encode(pages, out, lengths) {
      let at = 0;
      for (let i = 0; i < lengths.length; i++) {
        const page = pages.subarray(i * pageSize, (i + 1) * pageSize);
        const packed = await through(page, new CompressionStream("deflate-raw"));
        // a page that does not shrink travels as it is
        const shortest = packed.length < pageSize ? packed : page;
        out.set(shortest, at);
        lengths[i] = shortest.length;
        at += shortest.length;
      }
      return at;
    },
    close() {},
  }),
  pageDecoder: (_format, { pageSize }) => ({
    async decode(payload, lengths, out) {
      let at = 0;
      for (const [i, length] of lengths.entries()) {
        const packed = payload.subarray(at, at += length);
        const page = length === pageSize
          ? packed
          : await through(packed, new DecompressionStream("deflate-raw")).catch(() => {
            throw new CodecError("bad data", { page: i });
          });
        if (page.length !== pageSize) {
          const fault = page.length < pageSize ? "too short" : "too long";
          throw new CodecError(fault, { page: i, expected: pageSize, received: page.length });
        }
        out.set(page, i * pageSize);
      }
    },
    close() {},
  }),
  packetEncoder: () => {
    throw new Error("web-streams packs single pages only");
  },
  packetDecoder: () => {
    throw new Error("web-streams unpacks single pages only");
  },
};

/** Packs two pages as a qpl payload and takes it apart again. */
export async function roundTrip(): Promise<{ payload: number; isSame: boolean }> {
  const pageSize = 4096;
  const pages = new TextEncoder().encode("pages of a guest ".repeat(1000)).subarray(
    0,
    2 * pageSize,
  );
  const context = { pageSize, engine: webStreams, level: 1 };
  const qpl = methodByName("qpl")!;

  const sender = await qpl.sendSetup(context);
  const payload = new Uint8Array(1024 * 1024);
  const size = await sender.prepare(pages, payload);
  sender.cleanup();

  const back = new Uint8Array(pages.length);
  const receiver = await qpl.receiveSetup(context);
  qpl.checkPayloadSize(size, 2, pageSize);
  await receiver.receive(payload.subarray(0, size), back);
  receiver.cleanup();
  return { payload: size, isSame: back.every((byte, i) => byte === pages[i]) };
}

const { payload, isSame } = await roundTrip();
console.log(`8192 bytes of pages, ${payload} bytes of payload, ${isSame ? "the same" : "LOST"}`);
