import { test } from "node:test";
import zlib from "node:zlib";
import { assertEquals, assertThrows } from "@std/assert";
import { CodecError, type CodecFault } from "../../src/engines/engine.ts";
import { ZstdFrames } from "../../src/engines/zstd_frames.ts";
import { zstd } from "../../src/methods/zstd.ts";
import { assertFault, assertPeak, assertReceives, joined, pageOf } from "../methods/_pages.ts";

const MIB = 1024 * 1024;
const RAW = 0;
const RLE = 1;
const RESERVED = 3;
/** Room for blocks of 128 KiB. */
const WINDOW = 0x38;

/** A frame's header: magic, descriptor, and what the descriptor says follows. */
function header(descriptor: number, ...rest: number[]): Uint8Array {
  return Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, descriptor, ...rest);
}

/** A block of zeros, stored or one byte repeated. */
function block(type: number, size: number, last = false): Uint8Array {
  const bytes = new Uint8Array(3 + (type === RLE ? 1 : size));
  const head = size << 3 | type << 1 | (last ? 1 : 0);
  bytes.set([head, head >> 8, head >> 16]);
  return bytes;
}

function skippable(magic: number, size: number, room = size): Uint8Array {
  const bytes = new Uint8Array(8 + room);
  new DataView(bytes.buffer).setUint32(0, magic, true);
  new DataView(bytes.buffer).setUint32(4, size, true);
  return bytes;
}

/** The parts as `start-end`, `(` where a frame opens and `)` where it closes. */
function shown(frames: ZstdFrames, payload: Uint8Array): string {
  return frames.split(payload)
    .map(({ start, end, opens, closes }) =>
      `${opens ? "(" : ""}${start}-${end}${closes ? ")" : ""}`
    )
    .join(" ");
}

function assertSplitFault(fault: CodecFault, payload: Uint8Array, frames = new ZstdFrames()): void {
  assertEquals(assertThrows(() => frames.split(payload), CodecError).fault, fault);
}

test("split() gives nothing for an empty payload", () => {
  assertEquals(new ZstdFrames().split(new Uint8Array(0)), []);
});

for (
  const [what, descriptor, fields] of [
    ["a window", 0x00, 1],
    ["a single segment of one byte's size", 0x20, 1],
    ["a window and two bytes of size", 0x40, 3],
    ["a single segment and two bytes of size", 0x60, 2],
    ["a window and four bytes of size", 0x80, 5],
    ["a single segment and four bytes of size", 0xa0, 4],
    ["a window and eight bytes of size", 0xc0, 9],
    ["a single segment and eight bytes of size", 0xe0, 8],
    ["a dictionary ID of one byte", 0x01, 2],
    ["a dictionary ID of two bytes", 0x02, 3],
    ["a dictionary ID of four bytes", 0x03, 5],
  ] as const
) {
  test(`split() knows the size of a header with ${what}`, () => {
    // fields that would be read as an impossible block
    const head = header(descriptor, ...Array<number>(fields).fill(0xff));
    const payload = joined([head, block(RAW, 3, true)]);
    assertEquals(shown(new ZstdFrames(), payload), `(0-${payload.length})`);
    for (let size = 1; size < head.length; size++) {
      assertSplitFault("too short", payload.subarray(0, size));
    }
  });
}

test("split() finds where the runtime's own frames end", () => {
  const params = { [zlib.constants.ZSTD_c_checksumFlag]: 1 };
  for (const size of [0, 1, 300, 4096, 70_000, 300_000]) {
    const pages = pageOf("text", size);
    const plain = zlib.zstdCompressSync(pages);
    const checked = zlib.zstdCompressSync(pages, { params });
    const payload = joined([plain, checked, plain]);
    const [one, two] = [plain.length, plain.length + checked.length];
    const expected = `(0-${one}) (${one}-${two}) (${two}-${payload.length})`;
    assertEquals(shown(new ZstdFrames(), payload), expected);
  }
});

test("split() follows a frame from payload to payload", () => {
  const frames = new ZstdFrames();
  const head = header(0x00, WINDOW);
  assertEquals(shown(frames, joined([head, block(RAW, 5)])), "(0-14");
  assertEquals(shown(frames, joined([block(RLE, 9), block(RAW, 0)])), "0-7");
  assertEquals(shown(frames, joined([block(RAW, 1, true), head, block(RAW, 0)])), "0-4) (4-13");
  assertEquals(shown(frames, block(RLE, 1, true)), "0-4)");
  assertEquals(shown(frames, joined([head, block(RAW, 0, true)])), "(0-9)");
});

test("split() tells where each block ends, and the checksum", () => {
  const frames = new ZstdFrames();
  const stops = (payload: Uint8Array) => frames.split(payload).map((part) => part.stops);
  const head = header(0x04, WINDOW);
  assertEquals(stops(joined([head, block(RAW, 5), block(RLE, 5)])), [[14, 18]]);
  const end = joined([block(RLE, 5), block(RAW, 0, true), new Uint8Array(4)]);
  assertEquals(stops(joined([end, skippable(0x184d2a50, 3)])), [[4, 7, 11], [22]]);
});

test("split() takes a header without a block as a frame that goes on", () => {
  const frames = new ZstdFrames();
  assertEquals(shown(frames, header(0x00, WINDOW)), "(0-6");
  assertEquals(shown(frames, block(RAW, 2, true)), "0-5)");
});

test("split() counts the four bytes of a checksum to the frame that has one", () => {
  const frames = new ZstdFrames();
  const checked = joined([header(0x04, WINDOW), block(RAW, 2)]);
  assertEquals(shown(frames, checked), "(0-11");
  const end = joined([block(RAW, 0, true), new Uint8Array(4)]);
  const plain = joined([header(0x00, WINDOW), block(RAW, 0, true)]);
  assertEquals(shown(frames, joined([end, plain])), "0-7) (7-16)");
});

test("split() refuses a checksum that is cut short", () => {
  for (let size = 0; size < 4; size++) {
    const parts = [header(0x04, WINDOW), block(RAW, 2, true), new Uint8Array(size)];
    assertSplitFault("too short", joined(parts));
  }
});

test("split() refuses what is no frame, at the start and behind a frame", () => {
  const frame = joined([header(0x00, WINDOW), block(RAW, 0, true)]);
  for (const other of [new Uint8Array(16), header(0x00, WINDOW).fill(0x29, 0, 1)]) {
    assertSplitFault("bad data", other);
    assertSplitFault("bad data", joined([frame, other]));
  }
});

test("split() refuses a block of the reserved type", () => {
  assertSplitFault("bad data", joined([header(0x00, WINDOW), block(RESERVED, 1)]));
});

test("split() takes a block of 128 KiB and refuses a larger one", () => {
  for (const type of [RAW, RLE]) {
    const head = header(0x00, WINDOW);
    const most = joined([head, block(type, 128 * 1024, true)]);
    assertEquals(shown(new ZstdFrames(), most), `(0-${most.length})`);
    assertSplitFault("bad data", joined([head, block(type, 128 * 1024 + 1, true)]));
  }
});

test("split() refuses a block that is cut short at any position", () => {
  for (const whole of [block(RAW, 5), block(RLE, 5)]) {
    const payload = joined([header(0x00, WINDOW), whole]);
    for (let size = 7; size < payload.length; size++) {
      assertSplitFault("too short", payload.subarray(0, size));
    }
  }
});

test("split() steps over every kind of skippable frame", () => {
  const frame = joined([header(0x00, WINDOW), block(RAW, 0, true)]);
  for (let kind = 0; kind < 16; kind++) {
    const payload = joined([skippable(0x184d2a50 + kind, 7), frame]);
    assertEquals(shown(new ZstdFrames(), payload), "(0-15) (15-24)");
  }
  assertSplitFault("bad data", skippable(0x184d2a60, 7));
});

test("split() refuses a skippable frame that is longer than the payload", () => {
  for (const size of [8, 0x7fff_ffff, 0xffff_ffff]) {
    assertSplitFault("too short", skippable(0x184d2a50, size, 7));
  }
});

test("zstd reads stored blocks and RLE blocks", async () => {
  const pages = new Uint8Array(8192);
  const payload = joined([header(0x00, WINDOW), block(RLE, 4096), block(RAW, 4096, true)]);
  await assertReceives(zstd, [payload], [pages]);
});

test("zstd refuses a bomb of RLE blocks as too long, in a frame that ends or goes on", async () => {
  const blocks = Array<Uint8Array>(200_000).fill(block(RLE, 128 * 1024));
  const open = joined([header(0x00, WINDOW), ...blocks]);
  const closed = joined([open, block(RLE, 1, true)]);
  const before: [Uint8Array, number][] = [
    [joined([header(0x00, WINDOW), block(RLE, 4096)]), 4096],
  ];
  await assertPeak(256 * MIB, async () => {
    await assertFault("too long", zstd, closed, { size: 512 * 1024 });
    await assertFault("too long", zstd, open, { size: 512 * 1024 });
    await assertFault("too long", zstd, joined(blocks), { size: 4096, before });
  });
});

test("zstd does not believe a frame that says its content is huge", async () => {
  const size = [0, 0, 0, 0, 0, 1, 0, 0];
  const payload = joined([header(0xc0, WINDOW, ...size), block(RLE, 4096, true)]);
  const open = joined([header(0xe0, ...size), block(RLE, 4096)]);
  await assertPeak(256 * MIB, async () => {
    await assertFault(["bad data", "too long"], zstd, payload);
    await assertFault("bad data", zstd, open);
  });
});

test("zstd refuses a window above 32 MiB as bad data", async () => {
  const most = 25 - 10 << 3;
  const closed = (window: number) => joined([header(0x00, window), block(RLE, 4096, true)]);
  const open = (window: number) => joined([header(0x00, window), block(RLE, 4096)]);
  await assertReceives(zstd, [closed(most), open(most)], [
    new Uint8Array(4096),
    new Uint8Array(4096),
  ]);
  for (const payload of [closed(most + 8), open(most + 8), closed(0xff), open(0xff)]) {
    await assertFault("bad data", zstd, payload);
  }
});

test("zstd refuses a payload of a frame's header only as too short", async () => {
  await assertFault("too short", zstd, header(0x00, WINDOW));
});

test("zstd refuses a reserved descriptor bit as bad data", async () => {
  const payload = joined([header(0x08, WINDOW), block(RLE, 4096, true)]);
  await assertFault("bad data", zstd, payload);
});
