/** Seeded pages, and the two ends of a channel that carry them as a migration does. */
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import zlib from "node:zlib";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { CodecError, type CodecFault } from "../../src/engines/engine.ts";
import { selectEngine } from "../../src/engines/select.ts";
import { MAX_PAYLOAD_SIZE, type Method, type MethodContext } from "../../src/methods/method.ts";
import { Random } from "../_random.ts";

/** Packets of these pages cover a packet's first, second and last page, and one before the last. */
export const SHAPES = [
  { pageSize: 4096, counts: [1, 2, 127, 128] },
  { pageSize: 65536, counts: [1, 2, 7, 8] },
] as const;

const WORDS = "page block guest dirty round channel packet sync zero normal offset size".split(" ");

type MakePage = (size: number, random: Random) => Uint8Array;

/** A page of each kind that a codec may treat in its own way. */
export const PAGE_KINDS: Record<string, MakePage> = {
  zero: (size) => new Uint8Array(size),
  "all 0xff": (size) => new Uint8Array(size).fill(0xff),
  alternating: (size) => Uint8Array.from({ length: size }, (_, i) => i % 2 === 0 ? 0x55 : 0xaa),
  "first byte set": (size) => Uint8Array.from({ length: size }, (_, i) => i === 0 ? 1 : 0),
  "last byte set": (size) => Uint8Array.from({ length: size }, (_, i) => i === size - 1 ? 1 : 0),
  "zero-rich": (size, random) => {
    const page = new Uint8Array(size);
    for (let i = 0; i < size / 64; i++) page[random.below(size)] = random.u32();
    return page;
  },
  text: (size, random) => {
    let text = "";
    while (text.length < size) text += `${random.pick(WORDS)} `;
    return new TextEncoder().encode(text.slice(0, size));
  },
  random: (size, random) => random.bytes(size),
  "far repeat": (size, random) => {
    const [first, second] = [random.bytes(size / 8), random.bytes(size / 8)];
    return joined([first, second, first, new Uint8Array(size / 8 * 5)]);
  },
  "sync flush marks": (size) => Uint8Array.from({ length: size }, (_, i) => i % 4 < 2 ? 0 : 0xff),
  "just fits": (size, random) => edgePages(size, random)[0],
  "just does not fit": (size, random) => edgePages(size, random)[1],
};

/** Two pages that differ in one byte: raw deflate makes less than a page of the first only. */
export function edgePages(size: number, random: Random): [Uint8Array, Uint8Array] {
  const noise = random.bytes(size);
  const page = (length: number) =>
    joined([noise.subarray(0, length), new Uint8Array(size - length)]);
  const options = { level: 1, windowBits: 12 };
  let [fits, not] = [0, size];
  while (not - fits > 1) {
    const length = (fits + not) >> 1;
    if (zlib.deflateRawSync(page(length), options).length < size) fits = length;
    else not = length;
  }
  return [page(fits), page(not)];
}

/** Bytes one after another. */
export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** A page of one kind. */
export function pageOf(kind: string, size = 4096, seed = 1): Uint8Array {
  return PAGE_KINDS[kind]!(size, new Random(seed));
}

/** A packet's pages: every kind in turn, from one chosen by the seed on. */
export function somePages(count: number, pageSize: number, seed: number): Uint8Array {
  const random = new Random(seed);
  const kinds = Object.values(PAGE_KINDS);
  const start = random.below(kinds.length);
  return joined(Array.from(
    { length: count },
    (_, i) => kinds[(start + i) % kinds.length]!(pageSize, random),
  ));
}

/** A payload of qpl or uadk, which may lie about its lengths. */
export function payloadOf(
  pages: readonly Uint8Array[],
  lengths: readonly number[] = pages.map((page) => page.length),
): Uint8Array {
  const head = new Uint8Array(4 * lengths.length);
  lengths.forEach((length, i) => new DataView(head.buffer).setUint32(4 * i, length));
  return joined([head, ...pages]);
}

/** The pages in a payload of qpl or uadk. */
export function splitPages(payload: Uint8Array, count: number): Uint8Array[] {
  const view = new DataView(payload.buffer, payload.byteOffset);
  let at = 4 * count;
  return Array.from({ length: count }, (_, i) => {
    const page = payload.slice(at, at + view.getUint32(4 * i));
    at += page.length;
    return page;
  });
}

/** The options of one end of a channel. */
export type Options = Partial<Omit<MethodContext, "engine">>;

function context(
  method: Method,
  direction: "encodes" | "decodes",
  options: Options,
): MethodContext {
  const level = method.levels?.default ?? 0;
  const engine = selectEngine(method, direction, "builtin");
  return { pageSize: 4096, level, engine, ...options };
}

/** The payloads that one sending channel makes of packets. */
export async function payloadsOf(
  method: Method,
  packets: readonly Uint8Array[],
  options: Options = {},
): Promise<Uint8Array[]> {
  const sender = await method.sendSetup(context(method, "encodes", options));
  const out = new Uint8Array(MAX_PAYLOAD_SIZE).fill(0xa5);
  const payloads = [];
  for (const pages of packets) {
    const before = pages.slice();
    const size = await sender.prepare(pages, out);
    assertEquals(pages, before);
    payloads.push(out.slice(0, size));
  }
  sender.cleanup();
  return payloads;
}

/** One end of a channel that receives. */
export interface Receiving {
  /** Checks a payload's size and decodes it to so many bytes of pages, and writes nowhere else. */
  receive(payload: Uint8Array, size: number): Promise<Uint8Array>;
  cleanup(): void;
}

const GUARD = new Uint8Array(4096).fill(0x5a);

/** Sets up a receiving channel. */
export async function receiving(method: Method, options: Options = {}): Promise<Receiving> {
  const opened = context(method, "decodes", options);
  const receiver = await method.receiveSetup(opened);
  return {
    async receive(payload, size) {
      method.checkPayloadSize(payload.length, size / opened.pageSize, opened.pageSize);
      const guarded = joined([GUARD, new Uint8Array(size).fill(0x5a), GUARD]);
      const pages = guarded.subarray(GUARD.length, GUARD.length + size);
      try {
        await receiver.receive(payload, pages);
      } finally {
        const outside = [guarded.subarray(0, GUARD.length), guarded.subarray(GUARD.length + size)];
        assert(outside.every((guard) => same(guard, GUARD)), "wrote outside");
      }
      return pages;
    },
    cleanup: () => receiver.cleanup(),
  };
}

/** Receives a channel's payloads and asserts that they give exactly these packets. */
export async function assertReceives(
  method: Method,
  payloads: readonly Uint8Array[],
  packets: readonly Uint8Array[],
  options: Options = {},
): Promise<void> {
  assertEquals(payloads.length, packets.length);
  const channel = await receiving(method, options);
  for (const [i, payload] of payloads.entries()) {
    const pages = await channel.receive(payload, packets[i]!.length);
    assert(same(pages, packets[i]!), `${method.name}: packet ${i} differs`);
  }
  channel.cleanup();
}

/** Sends packets over one channel and asserts that they arrive. */
export async function assertRoundTrip(
  method: Method,
  packets: readonly Uint8Array[],
  options: Options = {},
): Promise<void> {
  await assertReceives(method, await payloadsOf(method, packets, options), packets, options);
}

/** Round trips of every shape, each shape's packets on one channel. */
export async function assertAllShapes(method: Method, options: Options = {}): Promise<void> {
  for (const { pageSize, counts } of SHAPES) {
    const packets = [...counts, ...counts.toReversed()].map((n, i) => somePages(n, pageSize, i));
    await assertRoundTrip(method, packets, { ...options, pageSize });
  }
}

/** Asserts that a channel refuses its only or last payload with this fault. */
export async function assertFault(
  fault: CodecFault | readonly CodecFault[],
  method: Method,
  payload: Uint8Array,
  options: Options & { size?: number; before?: readonly [Uint8Array, number][] } = {},
): Promise<CodecError> {
  const { size = 4096, before = [], ...rest } = options;
  const channel = await receiving(method, rest);
  for (const [earlier, earlierSize] of before) await channel.receive(earlier, earlierSize);
  const error = await assertRejects(() => channel.receive(payload, size), CodecError);
  assert([fault].flat().includes(error.fault), `${error.fault} (${error.code})`);
  channel.cleanup();
  return error;
}

/** Whether two arrays hold the same bytes; quicker on whole packets than a deep comparison. */
export function same(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

/** Asserts that work never holds more than so many bytes at once; checked on Linux only. */
export async function assertPeak(bytes: number, work: () => Promise<unknown>): Promise<void> {
  const before = peakMemory();
  await work();
  const grown = peakMemory() - before;
  assert(grown < bytes, `peak memory grew by ${grown} bytes`);
}

function peakMemory(): number {
  try {
    const status = readFileSync("/proc/self/status", "latin1");
    return 1024 * Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0);
  } catch {
    return 0;
  }
}
