import { test } from "node:test";
import nodeZlib from "node:zlib";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ProtocolError } from "../../src/errors.ts";
import { zlib } from "../../src/methods/zlib.ts";
import {
  assertAllShapes,
  assertFault,
  assertPeak,
  assertReceives,
  assertRoundTrip,
  joined,
  pageOf,
  payloadsOf,
  same,
  somePages,
} from "./_pages.ts";

const MIB = 1024 * 1024;
const { Z_SYNC_FLUSH, Z_FULL_FLUSH } = nodeZlib.constants;
const HEADER = Uint8Array.of(0x78, 0x01);
const TAIL = Uint8Array.of(0x00, 0x00, 0xff, 0xff);
const NOISE = pageOf("random");
const TEXT = new TextEncoder().encode("guest page ".repeat(400)).slice(0, 4096);

/** A channel's first payload with this deflate data. */
function firstPayload(pages: Uint8Array, finishFlush: number = Z_SYNC_FLUSH): Uint8Array {
  return joined([HEADER, nodeZlib.deflateRawSync(pages, { finishFlush })]);
}

test("zlib carries packets of every size on one channel", async () => {
  await assertAllShapes(zlib);
});

test("zlib carries packets at every level", async () => {
  for (let level = zlib.levels!.min; level <= zlib.levels!.max; level++) {
    await assertRoundTrip(zlib, [1, 2, 3].map((seed) => somePages(13, 4096, seed)), { level });
  }
});

test("zlib compresses as its level says", async () => {
  const text = pageOf("text", 32768);
  const sizes = [];
  for (const level of [0, 1, 9]) sizes.push((await payloadsOf(zlib, [text], { level }))[0]!.length);
  assert(sizes[0]! > text.length && sizes[0]! > sizes[1]! && sizes[1]! > sizes[2]!, `${sizes}`);
});

test("zlib sends the header 78 01 once and a sync flush in every packet", async () => {
  const pages = somePages(2, 4096, 3);
  const payloads = await payloadsOf(zlib, [pages, pages, pages]);
  assertEquals(payloads.map((payload) => same(payload.subarray(0, 2), HEADER)), [
    true,
    false,
    false,
  ]);
  for (const payload of payloads) assertEquals(payload.slice(-4), TAIL);
});

test("zlib.checkPayloadSize() takes 1 byte to 1 MiB", () => {
  for (const size of [1, MIB]) zlib.checkPayloadSize(size, 1, 4096);
  for (const size of [0, MIB + 1]) {
    assertThrows(() => zlib.checkPayloadSize(size, 1, 4096), ProtocolError, "impossible size");
  }
});

test("zlib fits 512 KiB of random pages into 1 MiB at every level", async () => {
  const noise = somePages(8, 65536, 4);
  for (const level of [0, 1, 9]) {
    const [payload] = await payloadsOf(zlib, [noise], { level });
    zlib.checkPayloadSize(payload!.length, 8, 65536);
  }
});

for (
  const [what, header] of [
    ["has a method other than deflate", [0x79, 0x18]],
    ["has a window above 32 KiB", [0x88, 0x1c]],
    ["has wrong check bits", [0x78, 0x02]],
    ["asks for a dictionary", [0x78, 0x20]],
  ] as const
) {
  test(`zlib refuses a stream whose header ${what}`, async () => {
    const payload = joined([Uint8Array.from(header), firstPayload(NOISE).subarray(2)]);
    const error = await assertFault("bad data", zlib, payload);
    assertEquals(error.code, "no zlib header");
  });
}

test("zlib refuses a second header on a channel", async () => {
  const payload = firstPayload(NOISE);
  await assertFault("bad data", zlib, payload, { before: [[payload, 4096]] });
});

test("zlib refuses a payload that does not end with a sync flush", async () => {
  const payload = firstPayload(NOISE, nodeZlib.constants.Z_FINISH);
  const error = await assertFault("bad data", zlib, payload);
  assertEquals(error.code, "no sync flush at the end");
});

test("zlib refuses a block of the reserved type as bad data", async () => {
  await assertFault("bad data", zlib, joined([HEADER, Uint8Array.of(0x06), TAIL]));
});

/** A fixed-Huffman block of 16 matches, 256 bytes each, 4096 bytes back: the page before. */
function pageBefore(): Uint8Array {
  const bits = [0, 1, 0];
  const put = (code: number, length: number) => {
    for (let i = 0; i < length; i++) bits.push(code >> i & 1);
  };
  const putHuffman = (code: number, length: number) => {
    for (let i = length - 1; i >= 0; i--) bits.push(code >> i & 1);
  };
  for (let i = 0; i < 16; i++) {
    putHuffman(0b11000100, 8); // symbol 284: lengths from 227
    put(256 - 227, 5);
    putHuffman(23, 5); // distances from 3073
    put(4096 - 3073, 10);
  }
  putHuffman(0, 7);
  put(0, 3);
  const bytes = new Uint8Array(Math.ceil(bits.length / 8));
  bits.forEach((bit, i) => bytes[i >> 3]! |= bit << (i & 7));
  return joined([bytes, TAIL]);
}

test("zlib reads a packet that refers to the packet before", async () => {
  const packets = [NOISE, NOISE, NOISE];
  await assertReceives(zlib, [firstPayload(NOISE), pageBefore(), pageBefore()], packets);
});

test("zlib refuses a distance beyond the channel's start as bad data", async () => {
  await assertFault("bad data", zlib, joined([HEADER, pageBefore()]));
});

test("zlib refuses a packet of fewer pages as too short", async () => {
  const first = firstPayload(NOISE);
  const error = await assertFault("too short", zlib, first, { size: 8192 });
  assertEquals([error.expected, error.received], [8192, 4096]);
  await assertFault("too short", zlib, pageBefore(), { size: 8192, before: [[first, 4096]] });
});

test("zlib refuses a packet that gives one byte more as too long", async () => {
  const first = firstPayload(joined([NOISE, Uint8Array.of(0)]));
  await assertFault("too long", zlib, first);
  const before: [Uint8Array, number][] = [[firstPayload(NOISE), 4096]];
  await assertFault("too long", zlib, first.subarray(2), { before });
});

test("zlib refuses input behind the end of the stream as left over", async () => {
  const ended = nodeZlib.deflateRawSync(NOISE);
  await assertFault("left-over input", zlib, joined([HEADER, ended, TAIL]));
});

test("zlib refuses a payload cut at any position", async () => {
  const payload = firstPayload(TEXT);
  for (let size = 1; size < payload.length; size++) {
    await assertFault("bad data", zlib, payload.subarray(0, size));
  }
});

test("zlib refuses a payload cut at any position with a sync flush put behind", async () => {
  const payload = firstPayload(TEXT);
  for (let size = 2; size < payload.length - 6; size++) {
    const mended = joined([payload.subarray(0, size), TAIL]);
    await assertFault(["too short", "too long", "bad data"], zlib, mended);
  }
});

test("zlib refuses a bomb of 1 GiB as too long without holding it", async () => {
  const piece = nodeZlib.deflateRawSync(new Uint8Array(MIB), {
    level: 9,
    finishFlush: Z_FULL_FLUSH,
  });
  const count = Math.floor((MIB - 2) / piece.length);
  const bomb = joined([HEADER, ...Array<Uint8Array>(count).fill(piece)]);
  assert(count > 900);
  await assertPeak(256 * MIB, () => assertFault("too long", zlib, bomb, { size: 512 * 1024 }));
});
