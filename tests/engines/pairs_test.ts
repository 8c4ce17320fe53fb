/** Any engine reads what any other wrote: every pair and page size of each method. */
import { constants, inflateRawSync } from "node:zlib";
import { assert, assertEquals } from "@std/assert";
import { nativeEngine } from "../../ffi/engines.ts";
import type { Method } from "../../src/methods/method.ts";
import {
  assertReceives,
  type Options,
  pageOf,
  payloadsOf,
  receiving,
  same,
  somePages,
} from "../methods/_pages.ts";
import { Random } from "../_random.ts";
import { METHODS, testOf, using } from "./_native.ts";

/** Channels whose packets have every kind of page, at every place, some of them twice. */
const CHANNELS: Record<number, Uint8Array[]> = {
  4096: [1, 12, 128, 2, 12, 1].map((count, i) => somePages(count, 4096, 40 + i % 4)),
  65536: [1, 8, 2, 8, 7].map((count, i) => somePages(count, 65536, 50 + i % 3)),
};

/** The ways a method's pages can be compressed: its levels, or how dense. */
function waysOf(method: Method): Options[] {
  const { levels } = method;
  if (levels === undefined) {
    return [false, true].map((dense) => ({ dense, uadkCompress: true }));
  }
  const count = levels.max - levels.min + 1;
  // of the higher ones, which take long, every third, of the slow ones the last
  return Array.from({ length: count }, (_, i) => ({ level: levels.min + i }))
    .filter(({ level }) => level <= 3 || level <= 12 && level % 3 === 0 || level === levels.max);
}

/** The slow levels get the small packets only. */
const isSlow = (method: Method, { level = 0 }: Options): boolean =>
  method.name === "zstd" && level > 12;

const sent = new Map<string, Promise<Uint8Array[]>>();

/** A channel's payloads, made once for all the decoders that read them. */
function payloadsFrom(
  encoder: string,
  method: Method,
  packets: readonly Uint8Array[],
  options: Options,
): Promise<Uint8Array[]> {
  const key = JSON.stringify([encoder, method.name, packets.length, options]);
  const known = sent.get(key) ?? payloadsOf(method, packets, using(encoder, options));
  sent.set(key, known);
  return known;
}

for (const { method, encoders, decoders } of METHODS) {
  for (const encoder of encoders) {
    for (const decoder of decoders) {
      for (const pageSize of [4096, 65536]) {
        const name = `${method.name} of ${encoder} is read by ${decoder}, pages of ${pageSize}`;
        testOf([encoder, decoder], name, async () => {
          const all = CHANNELS[pageSize]!;
          for (const way of waysOf(method)) {
            const packets = isSlow(method, way) ? all.filter((_, i) => i % 3 === 0) : all;
            const options = { ...way, pageSize };
            const payloads = await payloadsFrom(encoder, method, packets, options);
            for (const [i, payload] of payloads.entries()) {
              method.checkPayloadSize(payload.length, packets[i]!.length / pageSize, pageSize);
            }
            await assertReceives(method, payloads, packets, using(decoder, options));
          }
        });
      }
    }
  }
}

for (const name of ["isal", "libdeflate", "zstd", "qpl", "iaa-simulated", "qat-simulated"]) {
  testOf([name], `engine ${name} knows the formats that are tried here, and no others`, () => {
    const { encodes, decodes } = nativeEngine(name);
    const tried = (engines: "encoders" | "decoders") =>
      METHODS.filter((entry) => entry[engines].includes(name)).map(({ method }) => method.format!);
    assertEquals([...encodes].sort(), tried("encoders").sort());
    assertEquals([...decodes].sort(), tried("decoders").sort());
  });
}

for (const { method, encoders, decoders } of METHODS) {
  for (const encoder of encoders) {
    for (const decoder of decoders) {
      const name = `${method.name} of ${encoder} over ${decoder} keeps channels apart`;
      testOf([encoder, decoder], name, async () => {
        const seeds = [1, 2, 3, 4];
        const channels = seeds.map((seed) => [5, 3, 9].map((n) => somePages(n, 4096, seed * n)));
        const options: Options = { uadkCompress: true };
        const send = using(encoder, options);
        const payloads = await Promise.all(
          channels.map((packets) => payloadsOf(method, packets, send)),
        );
        const ends = await Promise.all(seeds.map(() => receiving(method, using(decoder, options))));
        for (let i = 0; i < 3; i++) {
          for (const [j, end] of ends.entries()) {
            const pages = channels[j]![i]!;
            assert(same(await end.receive(payloads[j]![i]!, pages.length), pages), `${i} of ${j}`);
          }
        }
        for (const end of ends) end.cleanup();
      });
    }
  }
}

testOf(["isal"], "zlib of isal refers to no packet before, and stores noise", async () => {
  const packets = [pageOf("random"), somePages(40, 4096, 7), new Random(8).bytes(40 * 4096)];
  for (const level of [0, 1, 9]) {
    const payloads = await payloadsOf(METHODS[0]!.method, packets, using("isal", { level }));
    for (const [i, payload] of payloads.entries()) {
      const alone = inflateRawSync(payload.subarray(i === 0 ? 2 : 0), {
        finishFlush: constants.Z_SYNC_FLUSH,
      });
      assert(same(alone, packets[i]!), `packet ${i} of level ${level}`);
    }
    // a header for each of three blocks, and the empty one that is the flush
    assertEquals(payloads[2]!.length, 40 * 4096 + 4 * 5);
  }
});
