import { test } from "node:test";
import nodeZlib from "node:zlib";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ProtocolError } from "../../src/errors.ts";
import { zstd } from "../../src/methods/zstd.ts";
import {
  assertAllShapes,
  assertFault,
  assertPeak,
  assertReceives,
  assertRoundTrip,
  joined,
  pageOf,
  payloadsOf,
  somePages,
} from "./_pages.ts";

const MIB = 1024 * 1024;
const MAGIC = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd);
const { ZSTD_c_checksumFlag } = nodeZlib.constants;
const NOISE = pageOf("random");
const TEXT = pageOf("text");

/** A frame with a checksum at its end. */
function checkedFrame(pages: Uint8Array): Uint8Array {
  return nodeZlib.zstdCompressSync(pages, { params: { [ZSTD_c_checksumFlag]: 1 } });
}

test("zstd carries packets of every size on one channel", async () => {
  await assertAllShapes(zstd);
});

test("zstd carries packets at every level", async () => {
  const { min, max } = zstd.levels!;
  for (let level = min; level <= max; level++) {
    // the slow ones have hundreds of megabytes: each under one of the runtimes
    if (level > 12 && level < max && level % 2 !== ("Deno" in globalThis ? 0 : 1)) continue;
    await assertRoundTrip(zstd, [1, 2, 3].map((seed) => somePages(13, 4096, seed)), { level });
  }
});

test("zstd compresses as its level says", async () => {
  const text = pageOf("text", 65536);
  const sizes = [];
  for (const level of [1, 20]) sizes.push((await payloadsOf(zstd, [text], { level }))[0]!.length);
  assert(sizes[0]! > sizes[1]!, `${sizes}`);
});

test("zstd starts every channel with a frame", async () => {
  const [payload] = await payloadsOf(zstd, [NOISE]);
  assertEquals(payload!.slice(0, 4), MAGIC);
});

test("zstd.checkPayloadSize() takes 1 byte to 1 MiB", () => {
  for (const size of [1, MIB]) zstd.checkPayloadSize(size, 1, 4096);
  for (const size of [0, MIB + 1]) {
    assertThrows(() => zstd.checkPayloadSize(size, 1, 4096), ProtocolError, "impossible size");
  }
});

test("zstd fits 512 KiB of random pages into 1 MiB at every level", async () => {
  const noise = pageOf("random", 512 * 1024);
  for (const level of [0, 1, 20]) {
    const [payload] = await payloadsOf(zstd, [noise], { level });
    zstd.checkPayloadSize(payload!.length, 8, 65536);
  }
});

test("zstd refuses bytes that are no frame as bad data", async () => {
  const error = await assertFault("bad data", zstd, NOISE);
  assertEquals(error.code, "no zstd frame");
});

test("zstd refuses a compressed block that is broken as bad data", async () => {
  const payload = nodeZlib.zstdCompressSync(TEXT).slice();
  payload.fill(0xff, 16, 48);
  await assertFault("bad data", zstd, payload);
});

test("zstd refuses a wrong checksum as bad data", async () => {
  const payload = checkedFrame(NOISE).slice();
  await assertReceives(zstd, [payload], [NOISE]);
  payload[payload.length - 1]! ^= 1;
  await assertFault("bad data", zstd, payload);
});

test("zstd refuses a packet of fewer pages as too short", async () => {
  const payload = nodeZlib.zstdCompressSync(TEXT);
  const error = await assertFault("too short", zstd, payload, { size: 8192 });
  assertEquals([error.expected, error.received], [8192, 4096]);
});

test("zstd refuses a packet that gives one byte more as too long", async () => {
  const one = Uint8Array.of(7);
  await assertFault("too long", zstd, nodeZlib.zstdCompressSync(joined([TEXT, one])));
  const two = joined([nodeZlib.zstdCompressSync(TEXT), nodeZlib.zstdCompressSync(one)]);
  await assertFault("too long", zstd, two);
});

test("zstd refuses bytes behind the last frame", async () => {
  const payload = nodeZlib.zstdCompressSync(TEXT);
  await assertFault("bad data", zstd, joined([payload, NOISE.subarray(0, 16)]));
  await assertFault("too short", zstd, joined([payload, MAGIC]));
});

test("zstd refuses a payload cut at any position as too short", async () => {
  for (const payload of [nodeZlib.zstdCompressSync(TEXT), checkedFrame(TEXT)]) {
    for (let size = 1; size < payload.length; size++) {
      await assertFault("too short", zstd, payload.subarray(0, size));
    }
  }
});

test("zstd refuses a frame with a dictionary as bad data", async () => {
  // descriptor: dictionary ID of one byte; 128 KiB window; one raw block of the page, the last
  const header = joined([MAGIC, Uint8Array.of(0x01, 0x38, 0x07)]);
  const block = NOISE.length << 3 | 1;
  const payload = joined([header, Uint8Array.of(block, block >> 8, block >> 16), NOISE]);
  await assertFault("bad data", zstd, payload);
});

test("zstd refuses a bomb of 4 GiB as too long without holding it", async () => {
  const frame = nodeZlib.zstdCompressSync(new Uint8Array(64 * MIB));
  const bomb = joined(Array<Uint8Array>(64).fill(frame));
  zstd.checkPayloadSize(bomb.length, 8, 65536);
  await assertPeak(256 * MIB, () => assertFault("too long", zstd, bomb, { size: 512 * 1024 }));
});
