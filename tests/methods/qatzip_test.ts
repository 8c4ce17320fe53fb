import { test } from "node:test";
import zlib from "node:zlib";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ProtocolError } from "../../src/errors.ts";
import { qatzip } from "../../src/methods/qatzip.ts";
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
const TEXT = pageOf("text");
const NOISE = pageOf("random");
const PACKET = somePages(8, 65536, 21);

/** What a test gets wrong in a member on purpose. */
interface Wrong {
  source?: number;
  deflated?: number;
  crc?: number;
  isize?: number;
}

function u32(value: number): Uint8Array {
  return Uint8Array.of(value, value >> 8, value >> 16, value >> 24);
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

/** A gzip member by the letter of RFC 1952: flags, then the fields these say. */
function gzip(
  source: Uint8Array,
  flags: number,
  fields: Uint8Array,
  wrong: Wrong = {},
): Uint8Array {
  return joined([
    Uint8Array.of(0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 255),
    fields,
    zlib.deflateRawSync(source),
    u32(wrong.crc ?? zlib.crc32(source)),
    u32(wrong.isize ?? source.length),
  ]);
}

/** A member as QATzip writes it. */
function qzMember(source: Uint8Array, wrong: Wrong = {}): Uint8Array {
  const deflated = zlib.deflateRawSync(source).length;
  const sizes = [u32(wrong.source ?? source.length), u32(wrong.deflated ?? deflated)];
  const field = [Uint8Array.of(12, 0), text("QZ"), Uint8Array.of(8, 0), ...sizes];
  return gzip(source, 0x04, joined(field), wrong);
}

test("qatzip carries packets of every size on one channel", async () => {
  await assertAllShapes(qatzip);
});

test("qatzip carries packets at every level", async () => {
  for (let level = qatzip.levels!.min; level <= qatzip.levels!.max; level++) {
    await assertRoundTrip(qatzip, [1, 2, 3].map((seed) => somePages(33, 4096, seed)), { level });
  }
});

test("qatzip compresses as its level says", async () => {
  const words = pageOf("text", 65536);
  const sizes = [];
  for (const level of [1, 9]) sizes.push((await payloadsOf(qatzip, [words], { level }))[0]!.length);
  assert(sizes[0]! > sizes[1]!, `${sizes}`);
});

test("qatzip sends QZ members of at most 64 KiB of source, every size in them true", async () => {
  for (const level of [1, 9]) {
    for (const pages of [PACKET, TEXT, PACKET.subarray(0, 17 * 4096), pageOf("random", 65536)]) {
      const [payload] = await payloadsOf(qatzip, [pages], { level });
      assert(payload!.length <= MIB);
      let at = 0;
      for (let start = 0; start < pages.length; start += 65536) {
        const source = pages.subarray(start, start + 65536);
        const header = payload!.subarray(at, at + 24);
        assertEquals(header.slice(0, 8), Uint8Array.of(0x1f, 0x8b, 8, 4, 0, 0, 0, 0));
        assert([0, 2, 4].includes(header[8]!));
        assertEquals(
          header.slice(9, 16),
          joined([
            Uint8Array.of(255, 12, 0),
            text("QZ"),
            Uint8Array.of(8, 0),
          ]),
        );
        assertEquals(header.slice(16, 20), u32(source.length));
        const deflated = new DataView(header.slice().buffer).getUint32(20, true);
        assert(deflated <= 74_752);
        const body = payload!.subarray(at + 24, at + 24 + deflated);
        assert(same(zlib.inflateRawSync(body), source));
        at += 24 + deflated;
        const trailer = joined([u32(zlib.crc32(source)), u32(source.length)]);
        assertEquals(payload!.slice(at, at + 8), trailer);
        at += 8;
      }
      assertEquals(at, payload!.length);
    }
  }
});

test("qatzip sends what a stock gunzip reads", async () => {
  const [payload] = await payloadsOf(qatzip, [PACKET]);
  assert(same(zlib.gunzipSync(payload!), PACKET));
});

test("qatzip.checkPayloadSize() takes 1 byte to 1 MiB", () => {
  for (const size of [1, MIB]) qatzip.checkPayloadSize(size, 1, 4096);
  for (const size of [0, MIB + 1]) {
    assertThrows(() => qatzip.checkPayloadSize(size, 1, 4096), ProtocolError, "impossible size");
  }
});

for (
  const [what, payload, pages] of [
    ["one member of 512 KiB", qzMember(PACKET), PACKET],
    [
      "eight members of 64 KiB",
      joined([0, 1, 2, 3, 4, 5, 6, 7].map((i) => qzMember(PACKET.subarray(i << 16, i + 1 << 16)))),
      PACKET,
    ],
    [
      "members that end inside of pages",
      joined([qzMember(TEXT.subarray(0, 1000)), qzMember(TEXT.subarray(1000))]),
      TEXT,
    ],
    [
      "an empty member between others",
      joined([
        qzMember(TEXT),
        qzMember(new Uint8Array(0)),
        qzMember(NOISE),
      ]),
      joined([TEXT, NOISE]),
    ],
    ["a plain gzip member", new Uint8Array(zlib.gzipSync(TEXT)), TEXT],
    [
      "plain and QZ members mixed",
      joined([zlib.gzipSync(TEXT), qzMember(NOISE)]),
      joined([
        TEXT,
        NOISE,
      ]),
    ],
    ["a member with FNAME", gzip(TEXT, 0x08, text("ram.img\0")), TEXT],
    ["a member with FCOMMENT", gzip(TEXT, 0x10, text("guest RAM\0")), TEXT],
    ["a member with FNAME, FCOMMENT and FHCRC", gzip(TEXT, 0x1a, text("a\0b\0##")), TEXT],
    ["a member with FTEXT", gzip(TEXT, 0x01, text("")), TEXT],
    ["a member with another's FEXTRA", gzip(TEXT, 0x04, text("\x06\0AB\x02\0xy")), TEXT],
    ["a member with an empty FEXTRA", gzip(TEXT, 0x04, text("\0\0")), TEXT],
    ["a member with a QZ field of another size", gzip(TEXT, 0x04, text("\x06\0QZ\x02\0xy")), TEXT],
  ] as const
) {
  test(`qatzip reads ${what}`, async () => {
    await assertReceives(qatzip, [payload], [pages]);
  });
}

test("qatzip finds the QZ field behind another's", async () => {
  const sizes = [u32(4096), u32(zlib.deflateRawSync(TEXT).length)];
  for (const [i, fault] of [undefined, "QZ source size", "QZ deflate size"].entries()) {
    const told = sizes.map((size, j) => j === i - 1 ? u32(5) : size);
    const extra = [text("\x12\0AB\x02\0xyQZ\x08\0"), ...told];
    const payload = gzip(TEXT, 0x04, joined(extra));
    if (fault === undefined) {
      await assertReceives(qatzip, [payload], [TEXT]);
    } else {
      const error = await assertFault("bad data", qatzip, payload);
      assertEquals(error.code, `${fault} is wrong`);
    }
  }
});

for (
  const [what, wrong, code] of [
    ["QZ source size one above", { source: 4097 }, "QZ source size is wrong"],
    ["QZ source size of 0", { source: 0 }, "QZ source size is wrong"],
    ["QZ deflate size of 0", { deflated: 0 }, "QZ deflate size is wrong"],
    ["QZ deflate size of 2^32 - 1", { deflated: 0xffff_ffff }, "QZ deflate size is wrong"],
    ["wrong CRC-32", { crc: zlib.crc32(NOISE) }, "CRC-32 differs"],
    ["wrong ISIZE", { isize: 4095 }, "ISIZE is wrong"],
  ] as const
) {
  test(`qatzip refuses a ${what} as bad data`, async () => {
    const payload = joined([qzMember(NOISE), qzMember(TEXT, wrong)]);
    const error = await assertFault("bad data", qatzip, payload, { size: 8192 });
    assertEquals(error.code, code);
  });
}

for (
  const [what, at, byte, code] of [
    ["no gzip magic", 1, 0x8c, "no gzip header"],
    ["a method other than deflate", 2, 7, "no gzip header"],
    ["reserved flags", 3, 0x24, "gzip header has reserved flags"],
    ["an extra field longer than its header says", 14, 9, "gzip extra field is cut short"],
    ["an extra field longer than the payload", 11, 0xff, "gzip header is cut short"],
  ] as const
) {
  test(`qatzip refuses a member with ${what} as bad data`, async () => {
    const payload = qzMember(TEXT);
    payload[at] = byte;
    assertEquals((await assertFault("bad data", qatzip, payload)).code, code);
  });
}

test("qatzip refuses broken deflate data as bad data", async () => {
  const payload = qzMember(NOISE);
  payload[24] = 0x07;
  await assertFault("bad data", qatzip, payload);
});

test("qatzip refuses a packet of fewer bytes as too short", async () => {
  const error = await assertFault("too short", qatzip, qzMember(TEXT), { size: 8192 });
  assertEquals([error.expected, error.received], [8192, 4096]);
});

test("qatzip refuses a packet that gives one byte more as too long", async () => {
  await assertFault("too long", qatzip, qzMember(joined([TEXT, Uint8Array.of(0)])));
  const payload = joined([qzMember(TEXT.subarray(1)), qzMember(Uint8Array.of(1, 2))]);
  await assertFault("too long", qatzip, payload);
});

test("qatzip refuses anything behind the last page as left-over input", async () => {
  for (const rest of [Uint8Array.of(0), qzMember(new Uint8Array(0)), qzMember(NOISE)]) {
    await assertFault("left-over input", qatzip, joined([qzMember(TEXT), rest]));
  }
});

test("qatzip refuses a payload cut at any position", async () => {
  const payload = qzMember(TEXT);
  for (let size = 1; size < payload.length; size++) {
    // an extra field that is not all there is a broken header
    const fault = size >= 10 && size < 24 ? "bad data" : "too short";
    await assertFault(fault, qatzip, payload.subarray(0, size));
  }
});

test("qatzip refuses a bomb of 1 GiB as too long without holding it", async () => {
  const piece = zlib.deflateRawSync(new Uint8Array(MIB), {
    level: 9,
    finishFlush: zlib.constants.Z_FULL_FLUSH,
  });
  const head = Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255);
  const bomb = joined([head, ...Array<Uint8Array>(1000).fill(piece)]);
  qatzip.checkPayloadSize(bomb.length, 8, 65536);
  await assertPeak(256 * MIB, () => assertFault("too long", qatzip, bomb, { size: 512 * 1024 }));
});

test("qatzip takes a payload of nothing but tiny members", async () => {
  const pages = pageOf("random", 65536);
  const members = Array.from(
    { length: pages.length / 4 },
    (_, i) => gzip(pages.subarray(4 * i, 4 * i + 4), 0, text("")),
  );
  await assertReceives(qatzip, [joined(members)], [pages]);
});
