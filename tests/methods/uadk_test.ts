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
import { uadk } from "../../src/methods/uadk.ts";
import {
  assertAllShapes,
  assertFault,
  assertPeak,
  assertReceives,
  joined,
  PAGE_KINDS,
  pageOf,
  payloadOf,
  payloadsOf,
  receiving,
  SHAPES,
  somePages,
  splitPages,
} from "./_pages.ts";
import { Random } from "../_random.ts";

const TEXT = pageOf("text");
const NOISE = pageOf("random");

test("uadk carries packets of every size on one channel, raw and compressed", async () => {
  await assertAllShapes(uadk);
  await assertAllShapes(uadk, { uadkCompress: true });
});

test("uadk sends raw pages only, unless told to compress", async () => {
  for (const { pageSize } of SHAPES) {
    const pages = somePages(8, pageSize, 11);
    const raw = Array.from({ length: 8 }, (_, i) => pages.slice(i * pageSize, (i + 1) * pageSize));
    for (const options of [{}, { uadkCompress: false }, { uadkCompress: undefined }]) {
      assertEquals(await payloadsOf(uadk, [pages], { pageSize, ...options }), [payloadOf(raw)]);
    }
  }
});

test("uadk compresses to zlib streams `78 9c` below S with a window of 4 KiB", async () => {
  let compressed = 0;
  for (const { pageSize } of SHAPES) {
    for (const [kind, make] of Object.entries(PAGE_KINDS)) {
      const page = make(pageSize, new Random(9));
      const [payload] = await payloadsOf(uadk, [page], { pageSize, uadkCompress: true });
      const [sent] = splitPages(payload!, 1);
      assert(sent!.length <= pageSize, kind);
      if (sent!.length === pageSize) {
        assertEquals(sent, page);
        continue;
      }
      compressed++;
      assertEquals(sent!.slice(0, 2), Uint8Array.of(0x78, 0x9c));
      assertEquals(new Uint8Array(zlib.inflateSync(sent!)), page);
      const deflated = sent!.subarray(2, -4);
      assertEquals(new Uint8Array(zlib.inflateRawSync(deflated, { windowBits: 12 })), page);
    }
  }
  assert(compressed > 10, `${compressed}`);
});

for (
  const [what, options] of [
    ["78 9c", { level: 6 }],
    ["78 01", { level: 1 }],
    ["78 da", { level: 9 }],
    ["a window of 4 KiB", { windowBits: 12 }],
    ["a window of 512 bytes", { windowBits: 9 }],
  ] as const
) {
  test(`uadk reads a page with a zlib header of ${what}`, async () => {
    const page = pageOf("text", 65536);
    const payload = payloadOf([zlib.deflateSync(page, options)]);
    await assertReceives(uadk, [payload], [page], { pageSize: 65536 });
  });
}

test("uadk.checkPayloadSize() takes 5 to 4 + S bytes for each page", () => {
  for (const { pageSize, counts } of SHAPES) {
    for (const count of counts) {
      const [least, most] = [count * 5, count * (4 + pageSize)];
      for (const size of [least, most]) uadk.checkPayloadSize(size, count, pageSize);
      for (const size of [0, count * 4, least - 1, most + 1]) {
        const check = () => uadk.checkPayloadSize(size, count, pageSize);
        assertThrows(check, ProtocolError, "impossible");
      }
    }
  }
});

test("uadk refuses lengths that are 0, above S or do not add up", async () => {
  const channel = await receiving(uadk);
  for (const lengths of [[0, 8192], [4095, 4097], [4096, 4095], [1, 1], [4096, 0xffff_ffff]]) {
    const payload = payloadOf([joined([NOISE, NOISE])], lengths);
    await assertRejects(() => channel.receive(payload, 8192), ProtocolError, "ength");
  }
});

test("uadk refuses a wrong Adler-32 as bad data", async () => {
  const stream = zlib.deflateSync(TEXT);
  for (let at = 1; at <= 4; at++) {
    const broken = Uint8Array.from(stream);
    broken[broken.length - at]! ^= 0x10;
    const payload = payloadOf([NOISE, broken]);
    const error = await assertFault("bad data", uadk, payload, { size: 8192 });
    assertEquals(error.page, 1);
    assertStringIncludes(error.code!, "incorrect data check");
  }
});

for (
  const [what, header] of [
    ["method other than deflate", [0x79, 0x18]],
    ["window above 32 KiB", [0x88, 0x1c]],
    ["wrong check bits", [0x78, 0x9d]],
  ] as const
) {
  test(`uadk refuses a zlib header with a ${what} as bad data`, async () => {
    const stream = zlib.deflateSync(TEXT);
    const payload = payloadOf([joined([Uint8Array.from(header), stream.subarray(2)])]);
    await assertFault("bad data", uadk, payload);
  });
}

test("uadk refuses a zlib header that asks for a dictionary as bad data", async () => {
  const stream = zlib.deflateSync(TEXT);
  const asks = Uint8Array.of(0x78, 0x20, 0x12, 0x34, 0x56, 0x78);
  await assertFault("bad data", uadk, payloadOf([joined([asks, stream.subarray(2)])]));
});

test("uadk refuses a raw deflate stream and a gzip member as bad data", async () => {
  await assertFault("bad data", uadk, payloadOf([zlib.deflateRawSync(TEXT)]));
  await assertFault("bad data", uadk, payloadOf([zlib.gzipSync(TEXT)]));
});

test("uadk refuses a page of fewer or more bytes than S", async () => {
  const less = zlib.deflateSync(TEXT.subarray(1));
  const short = await assertFault("too short", uadk, payloadOf([less]));
  assertEquals([short.page, short.expected, short.received], [0, 4096, 4095]);
  const more = zlib.deflateSync(joined([TEXT, Uint8Array.of(0)]));
  const long = await assertFault("too long", uadk, payloadOf([NOISE, more]), { size: 8192 });
  assertEquals([long.page, long.expected], [1, 4096]);
});

test("uadk refuses bytes behind a page's stream as left-over input", async () => {
  const stream = zlib.deflateSync(TEXT);
  const payload = payloadOf([joined([stream, Uint8Array.of(0)])]);
  const error = await assertFault("left-over input", uadk, payload);
  assertEquals([error.expected, error.received], [stream.length, stream.length + 1]);
});

test("uadk refuses a stream cut at any position as too short", async () => {
  const stream = zlib.deflateSync(TEXT);
  for (let size = 1; size < stream.length; size++) {
    await assertFault("too short", uadk, payloadOf([stream.subarray(0, size)]));
  }
});

test("uadk refuses bombs of 60 MiB a page as too long without holding them", async () => {
  const bomb = zlib.deflateSync(new Uint8Array(60 * 1024 * 1024), { level: 9 });
  assert(bomb.length < 65536);
  const payload = payloadOf(Array<Uint8Array>(8).fill(bomb));
  await assertPeak(32 * 1024 * 1024, async () => {
    await assertFault("too long", uadk, payload, { pageSize: 65536, size: 8 * 65536 });
  });
});
