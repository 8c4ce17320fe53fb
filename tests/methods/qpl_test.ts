import { test } from "node:test";
import zlib from "node:zlib";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { ProtocolError } from "../../src/errors.ts";
import { qpl } from "../../src/methods/qpl.ts";
import {
  assertAllShapes,
  assertFault,
  assertPeak,
  assertReceives,
  edgePages,
  joined,
  PAGE_KINDS,
  pageOf,
  payloadOf,
  payloadsOf,
  receiving,
  SHAPES,
  splitPages,
} from "./_pages.ts";
import { Random } from "../_random.ts";

const { Z_FIXED, Z_DEFAULT_STRATEGY, Z_SYNC_FLUSH, Z_FULL_FLUSH } = zlib.constants;
const TEXT = pageOf("text");
const NOISE = pageOf("random");

test("qpl carries packets of every size on one channel", async () => {
  await assertAllShapes(qpl);
});

test("qpl has no levels", () => {
  assertEquals(qpl.levels, undefined);
});

test("qpl sends streams below S with a window of 4 KiB, and raw pages of S", async () => {
  for (const { pageSize } of SHAPES) {
    for (const [kind, make] of Object.entries(PAGE_KINDS)) {
      const page = make(pageSize, new Random(9));
      const [payload] = await payloadsOf(qpl, [page], { pageSize });
      const [sent] = splitPages(payload!, 1);
      assert(sent!.length <= pageSize, kind);
      const content = sent!.length === pageSize
        ? sent!
        : zlib.inflateRawSync(sent!, { windowBits: 12 });
      assertEquals(new Uint8Array(content), page);
    }
  }
});

test("qpl sends a page raw only when its stream would not be below S", async () => {
  for (const { pageSize } of SHAPES) {
    const [fits, not] = edgePages(pageSize, new Random(10));
    const [payload] = await payloadsOf(qpl, [joined([fits, not])], { pageSize });
    const [packed, raw] = splitPages(payload!, 2);
    assert(packed!.length < pageSize && packed!.length > pageSize - 16, `${packed!.length}`);
    assertEquals(raw, not);
  }
});

test("qpl keeps the window to 4 KiB where a page repeats from farther back", async () => {
  const page = pageOf("far repeat", 65536);
  const wide = zlib.deflateRawSync(page);
  assertThrows(() => zlib.inflateRawSync(wide, { windowBits: 12 }), Error, "far back");
  const [payload] = await payloadsOf(qpl, [page], { pageSize: 65536 });
  const [sent] = splitPages(payload!, 1);
  assertEquals(new Uint8Array(zlib.inflateRawSync(sent!, { windowBits: 12 })), page);
});

for (
  const [what, options] of [
    ["fixed blocks", { strategy: Z_FIXED, level: 1 }],
    ["dynamic blocks", { strategy: Z_DEFAULT_STRATEGY, level: 9 }],
    ["small blocks", { memLevel: 1, level: 6 }],
    ["a window of 32 KiB", { windowBits: 15, level: 9 }],
    ["a window of 512 bytes", { windowBits: 9, level: 9 }],
  ] as const
) {
  test(`qpl reads a page of ${what}`, async () => {
    const zeroRich = pageOf("zero-rich");
    const streams = [TEXT, zeroRich].map((page) => zlib.deflateRawSync(page, options));
    await assertReceives(qpl, [payloadOf(streams)], [joined([TEXT, zeroRich])]);
  });
}

test("qpl reads a page of stored and other blocks", async () => {
  const half = TEXT.subarray(0, 2048);
  const stored = zlib.deflateRawSync(half, { level: 0, finishFlush: Z_SYNC_FLUSH });
  const full = zlib.deflateRawSync(half, { finishFlush: Z_FULL_FLUSH });
  const last = zlib.deflateRawSync(half);
  for (const first of [stored, full]) {
    await assertReceives(qpl, [payloadOf([joined([first, last])])], [joined([half, half])]);
  }
});

test("qpl reads a page of length S as it is, even if it is a deflate stream", async () => {
  const stream = zlib.deflateRawSync(TEXT);
  const page = joined([stream, new Uint8Array(4096 - stream.length)]);
  await assertReceives(qpl, [payloadOf([page, NOISE])], [joined([page, NOISE])]);
});

test("qpl.checkPayloadSize() takes 5 to 4 + S bytes for each page", () => {
  for (const { pageSize, counts } of SHAPES) {
    for (const count of counts) {
      const [least, most] = [count * 5, count * (4 + pageSize)];
      for (const size of [least, most]) qpl.checkPayloadSize(size, count, pageSize);
      for (const size of [0, count * 4, least - 1, most + 1]) {
        assertThrows(
          () => qpl.checkPayloadSize(size, count, pageSize),
          ProtocolError,
          "impossible",
        );
      }
    }
  }
});

for (
  const [what, lengths, message] of [
    ["a length of 0", [0, 8192], "Length of page 0"],
    ["a length of S + 1", [4095, 4097], "Length of page 1"],
    ["a length of 2^32 - 1", [4096, 0xffff_ffff], "Length of page 1"],
    ["lengths that are one byte less than the payload", [4096, 4095], "do not add up"],
    ["lengths that are one byte more than the payload", [4095, 4096], "do not add up"],
  ] as const
) {
  test(`qpl refuses ${what}`, async () => {
    const size = what.includes("one byte more") ? 8190 : 8192;
    const payload = payloadOf([new Uint8Array(size)], lengths);
    const channel = await receiving(qpl);
    await assertRejects(() => channel.receive(payload, 8192), ProtocolError, message);
  });
}

test("qpl names the page that is bad data", async () => {
  const reserved = Uint8Array.of(0x07, 0, 0);
  const error = await assertFault("bad data", qpl, payloadOf([NOISE, reserved]), { size: 8192 });
  assertEquals(error.page, 1);
});

test("qpl refuses a distance beyond the page's start as bad data", async () => {
  // fixed block: literal 0, then a match of 3 bytes 2 bytes back
  const tooFar = Uint8Array.of(0x63, 0x00, 0x12, 0x00, 0x00);
  const error = await assertFault("bad data", qpl, payloadOf([tooFar]));
  assertStringIncludes(error.code!, "too far back");
});

test("qpl refuses a page of fewer or more bytes than S", async () => {
  const less = zlib.deflateRawSync(TEXT.subarray(1));
  const short = await assertFault("too short", qpl, payloadOf([less]));
  assertEquals([short.page, short.expected, short.received], [0, 4096, 4095]);
  const more = zlib.deflateRawSync(joined([TEXT, Uint8Array.of(0)]));
  const long = await assertFault("too long", qpl, payloadOf([NOISE, more]), { size: 8192 });
  assertEquals([long.page, long.expected], [1, 4096]);
});

test("qpl refuses an empty stream as too short", async () => {
  await assertFault("too short", qpl, payloadOf([zlib.deflateRawSync(new Uint8Array(0))]));
});

test("qpl refuses bytes behind a page's stream as left-over input", async () => {
  const stream = zlib.deflateRawSync(TEXT);
  const payload = payloadOf([joined([stream, Uint8Array.of(0)])]);
  const error = await assertFault("left-over input", qpl, payload);
  assertEquals([error.expected, error.received], [stream.length, stream.length + 1]);
});

test("qpl refuses a stream without a final block as too short", async () => {
  const open = zlib.deflateRawSync(TEXT, { finishFlush: Z_SYNC_FLUSH });
  await assertFault("too short", qpl, payloadOf([open]));
});

test("qpl refuses a stream cut at any position as too short", async () => {
  for (const options of [{ level: 1, strategy: Z_FIXED }, { level: 9 }]) {
    const stream = zlib.deflateRawSync(TEXT, options);
    for (let size = 1; size < stream.length; size++) {
      await assertFault("too short", qpl, payloadOf([stream.subarray(0, size)]));
    }
  }
});

test("qpl refuses bombs of 60 MiB a page as too long without holding them", async () => {
  const bomb = zlib.deflateRawSync(new Uint8Array(60 * 1024 * 1024), { level: 9 });
  assert(bomb.length < 65536);
  const payload = payloadOf(Array<Uint8Array>(8).fill(bomb));
  await assertPeak(32 * 1024 * 1024, async () => {
    await assertFault("too long", qpl, payload, { pageSize: 65536, size: 8 * 65536 });
  });
});
