/** What qpl and uadk share: a length per page, then the pages, each compressed or raw. */
import { ProtocolError } from "../errors.ts";
import type { CodecFormat, PageEncoder } from "../engines/engine.ts";
import { viewOf } from "../protocol/bytes.ts";
import type { Method, MethodContext } from "./method.ts";
import { engineOf } from "./_stream.ts";

/** Makes a method whose payload is n lengths (u32) and n pages. */
export function pagesMethod(
  name: string,
  flag: number,
  format: CodecFormat,
  compresses: (context: MethodContext) => boolean,
): Method {
  return {
    name,
    flag,
    levels: undefined,
    format,
    checkPayloadSize(size, normalPages, pageSize) {
      const least = normalPages * 5;
      const most = normalPages * (4 + pageSize);
      if (size >= least && size <= most) return;
      throw new ProtocolError("Payload has an impossible size", {
        expected: `${least} to ${most} bytes`,
        received: size,
      });
    },
    sendSetup(context) {
      const encoder = compresses(context)
        ? engineOf(name, context).pageEncoder(format, context)
        : undefined;
      return {
        prepare: (pages, out) => prepare(encoder, pages, context.pageSize, out),
        counts: () => encoder?.counts?.(),
        cleanup: () => encoder?.close(),
      };
    },
    receiveSetup(context) {
      const decoder = engineOf(name, context).pageDecoder(format, context);
      return {
        receive(payload, pages) {
          const lengths = readLengths(payload, pages.length / context.pageSize, context.pageSize);
          return decoder.decode(payload.subarray(4 * lengths.length), lengths, pages);
        },
        counts: () => decoder.counts?.(),
        cleanup: () => decoder.close(),
      };
    },
  };
}

function prepare(
  encoder: PageEncoder | undefined,
  pages: Uint8Array,
  pageSize: number,
  out: Uint8Array,
): number | Promise<number> {
  const lengths = new Uint32Array(pages.length / pageSize);
  const head = 4 * lengths.length;
  const body = out.subarray(head);
  let written: number | Promise<number>;
  if (encoder === undefined) {
    body.set(pages);
    lengths.fill(pageSize);
    written = pages.length;
  } else {
    written = encoder.encode(pages, body, lengths);
  }
  const finish = (bytes: number): number => {
    const view = viewOf(out);
    lengths.forEach((length, i) => view.setUint32(4 * i, length));
    return head + bytes;
  };
  return typeof written === "number" ? finish(written) : written.then(finish);
}

function readLengths(payload: Uint8Array, count: number, pageSize: number): Uint32Array {
  const view = viewOf(payload);
  const lengths = new Uint32Array(count);
  let total = 4 * count;
  for (let i = 0; i < count; i++) {
    const length = view.getUint32(4 * i);
    if (length < 1 || length > pageSize) {
      throw new ProtocolError(`Length of page ${i} is impossible`, {
        expected: `1 to ${pageSize} bytes`,
        received: length,
      });
    }
    lengths[i] = length;
    total += length;
  }
  if (total !== payload.length) {
    throw new ProtocolError("Lengths of the pages do not add up to the payload", {
      expected: payload.length,
      received: total,
    });
  }
  return lengths;
}
