/**
 * What a stock receiver reads of what is sent here, and the other way round. The
 * stock side is the runtime's own streaming zlib and zstd, used as QEMU uses them.
 */
import { test } from "node:test";
import zlib from "node:zlib";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { CodecError } from "../../src/engines/engine.ts";
import type { Method } from "../../src/methods/method.ts";
import { zlib as zlibMethod } from "../../src/methods/zlib.ts";
import { zstd as zstdMethod } from "../../src/methods/zstd.ts";
import {
  assertFault,
  assertReceives,
  joined,
  pageOf,
  payloadsOf,
  receiving,
  same,
  somePages,
} from "../methods/_pages.ts";
import { type Stock, stockPayloads, tap } from "./_stock.ts";

const {
  Z_SYNC_FLUSH,
  Z_FULL_FLUSH,
  ZSTD_e_flush,
  ZSTD_c_compressionLevel,
  ZSTD_c_checksumFlag,
  ZSTD_c_windowLog,
} = zlib.constants;

/** Packets that repeat pages, so that a window pays, of all sizes up to the most. */
const PACKETS = [3, 1, 128, 3, 128, 2, 3].map((count) => somePages(count, 4096, count));
const SMALL = [1, 2, 1, 5].map((count) => somePages(count, 4096, count));
const TEXT = pageOf("text");
const NOISE = pageOf("random");

/** Asserts that a stock receiver gets exactly each packet's pages from each payload. */
async function assertStockReads(
  open: () => zlib.Inflate | zlib.ZstdDecompress,
  payloads: readonly Uint8Array[],
  packets: readonly Uint8Array[],
  streamPerPacket: boolean,
): Promise<void> {
  let stock = open() as unknown as Stock;
  let { take, failed, ended } = tap(stock);
  for (const [i, payload] of payloads.entries()) {
    await Promise.race([
      failed,
      ended,
      new Promise<void>((done) => stock.write(payload, done)),
    ]);
    const pages = take();
    assertEquals(pages.length, packets[i]!.length);
    for (let at = 0; at < pages.length; at += 4096) {
      assert(
        same(pages.subarray(at, at + 4096), packets[i]!.subarray(at, at + 4096)),
        `packet ${i}, byte ${at}`,
      );
    }
    if (!streamPerPacket) continue;
    stock.destroy();
    stock = open() as unknown as Stock;
    ({ take, failed, ended } = tap(stock));
  }
  stock.destroy();
}

for (const level of [0, 1, 6, 9]) {
  test(`a stock zlib receiver reads what zlib sends at level ${level}`, async () => {
    const payloads = await payloadsOf(zlibMethod, PACKETS, { level });
    await assertStockReads(() => zlib.createInflate(), payloads, PACKETS, false);
  });
}

for (const level of [0, 1, 20]) {
  test(`a stock zstd receiver reads what zstd sends at level ${level}`, async () => {
    const packets = level < 9 ? PACKETS : SMALL;
    const payloads = await payloadsOf(zstdMethod, packets, { level });
    // Deno's stream ends with its first frame; QEMU's ZSTD_decompressStream starts the next
    const open = () => zlib.createZstdDecompress();
    await assertStockReads(open, payloads, packets, true);
  });
}

const flushes = [["a sync flush", Z_SYNC_FLUSH], ["a full flush", Z_FULL_FLUSH]] as const;

for (const [what, flush] of flushes) {
  test(`zlib reads one stock stream with ${what} per packet, at every level`, async () => {
    for (let level = 0; level <= 9; level++) {
      const packets = level === 0 || level === 1 ? PACKETS : SMALL;
      const payloads = await stockPayloads(zlib.createDeflate({ level }), packets, flush);
      await assertReceives(zlibMethod, payloads, packets);
    }
  });
}

test("zlib reads a stock stream with a window of 512 bytes", async () => {
  const stream = zlib.createDeflate({ windowBits: 9, memLevel: 1 });
  const payloads = await stockPayloads(stream, PACKETS, Z_SYNC_FLUSH);
  await assertReceives(zlibMethod, payloads, PACKETS);
});

test("zlib reads a stock stream that refers 32 KiB back, over many small packets", async () => {
  // seven pages of noise, then only references to them
  const noise = Array.from({ length: 7 }, (_, i) => pageOf("random", 4096, i + 1));
  const packets = [...noise, ...noise, ...noise];
  const stream = zlib.createDeflate({ level: 9 });
  const payloads = await stockPayloads(stream, packets, Z_SYNC_FLUSH);
  assert(payloads.slice(7).every((payload) => payload.length < 200));
  await assertReceives(zlibMethod, payloads, packets);
});

test("zlib refuses a stock stream's packet when the one before is missing", async () => {
  const packets = [NOISE, NOISE, NOISE];
  const payloads = await stockPayloads(zlib.createDeflate(), packets, Z_SYNC_FLUSH);
  const refers = joined([payloads[0]!.subarray(0, 2), payloads[1]!]);
  await assertFault("bad data", zlibMethod, refers);
});

function zstdStream(params: Record<number, number>): zlib.ZstdCompress {
  return zlib.createZstdCompress({ params });
}

for (const level of [-100, -7, -1, 0, 1, 3, 9, 20]) {
  test(`zstd reads one stock frame that never ends, of level ${level}`, async () => {
    const packets = level < 9 ? PACKETS : [...SMALL, ...SMALL];
    const stream = zstdStream({ [ZSTD_c_compressionLevel]: level });
    const payloads = await stockPayloads(stream, packets, ZSTD_e_flush);
    await assertReceives(zstdMethod, payloads, packets);
  });
}

test("zstd reads a never-ending frame of a window of 32 MiB, which is level 20's", async () => {
  const stream = zstdStream({ [ZSTD_c_windowLog]: 25 });
  const payloads = await stockPayloads(stream, SMALL, ZSTD_e_flush);
  await assertReceives(zstdMethod, payloads, SMALL);
});

test("zstd keeps the window of a never-ending frame from packet to packet", async () => {
  const packets = [NOISE, NOISE, NOISE];
  const payloads = await stockPayloads(zstdStream({}), packets, ZSTD_e_flush);
  assert(payloads[1]!.length < 200);
  await assertReceives(zstdMethod, payloads, packets);
});

const frame = (bytes: Uint8Array, params: Record<number, number> = {}): Uint8Array =>
  new Uint8Array(zlib.zstdCompressSync(bytes, { params }));

/** A frame for every so many bytes of pages. */
function frames(pages: Uint8Array, size: number, params: Record<number, number> = {}): Uint8Array {
  const count = Math.ceil(pages.length / size);
  return joined(Array.from(
    { length: count },
    (_, i) => frame(pages.subarray(i * size, (i + 1) * size), params),
  ));
}

const checked = { [ZSTD_c_checksumFlag]: 1 };

for (
  const [what, encode] of [
    ["a frame per packet", (pages: Uint8Array) => frame(pages)],
    ["a frame per page", (pages: Uint8Array) => frames(pages, 4096)],
    ["a frame for every three pages", (pages: Uint8Array) => frames(pages, 3 * 4096)],
    ["frames with checksums", (pages: Uint8Array) => frames(pages, 2 * 4096, checked)],
    [
      "frames of a negative level",
      (pages: Uint8Array) => frames(pages, 65536, { [ZSTD_c_compressionLevel]: -5 }),
    ],
    ["frames that end inside of pages", (pages: Uint8Array) => frames(pages, 3000)],
    [
      "skippable frames around others",
      (pages: Uint8Array) =>
        joined([
          skippable(0),
          frame(pages.subarray(0, 4096)),
          skippable(100),
          skippable(0),
          ...(
            pages.length > 4096 ? [frame(pages.subarray(4096))] : []
          ),
        ]),
    ],
    [
      "empty frames around others",
      (pages: Uint8Array) =>
        joined([frame(new Uint8Array(0)), frame(pages), frame(new Uint8Array(0), checked)]),
    ],
  ] as const
) {
  test(`zstd reads ${what}`, async () => {
    await assertReceives(zstdMethod, PACKETS.map(encode), PACKETS);
  });
}

test("zstd reads frames of level 20", async () => {
  const params = { [ZSTD_c_compressionLevel]: 20 };
  await assertReceives(zstdMethod, SMALL.map((pages) => frame(pages, params)), SMALL);
});

function skippable(size: number): Uint8Array {
  const bytes = new Uint8Array(8 + size).fill(0xee);
  new DataView(bytes.buffer).setUint32(0, 0x184d2a53, true);
  new DataView(bytes.buffer).setUint32(4, size, true);
  return bytes;
}

/** A frame over packets: the pieces that a flush after each packet gives, the last one its end. */
async function endedFrame(
  packets: readonly Uint8Array[],
  params: Record<number, number>,
): Promise<Uint8Array[]> {
  const stock = zstdStream(params) as unknown as Stock;
  const { take, failed, ended } = tap(stock);
  const pieces = [];
  for (const [i, pages] of packets.entries()) {
    stock.write(pages, () => {});
    if (i === packets.length - 1) {
      stock.end();
      await Promise.race([failed, ended]);
    } else {
      await new Promise<void>((done) => stock.flush(ZSTD_e_flush, done));
    }
    pieces.push(take());
  }
  return pieces;
}

for (const [what, params] of [["no checksum", {}], ["a checksum", checked]] as const) {
  test(`zstd reads frames with ${what} that go on and end in the middle of packets`, async () => {
    const parts = [NOISE, TEXT, somePages(3, 4096, 31), NOISE, somePages(2, 4096, 32), TEXT];
    const first = await endedFrame(parts.slice(0, 3), params);
    const second = await endedFrame(parts.slice(3), params);
    const payloads = [
      first[0]!,
      first[1]!,
      // the end of one frame, a whole one, the start of the next
      joined([first[2]!, frame(TEXT), second[0]!]),
      second[1]!,
      joined([second[2]!, frame(NOISE)]),
      frame(NOISE),
    ];
    const packets = [
      parts[0]!,
      parts[1]!,
      joined([parts[2]!, TEXT, parts[3]!]),
      parts[4]!,
      joined([parts[5]!, NOISE]),
      NOISE,
    ];
    await assertReceives(zstdMethod, payloads, packets);
  });
}

test("zstd reads a never-ending frame after frames that ended", async () => {
  const open = await stockPayloads(zstdStream({}), SMALL, ZSTD_e_flush);
  const payloads = [frame(TEXT), joined([frame(NOISE), open[0]!]), ...open.slice(1)];
  const packets = [TEXT, joined([NOISE, SMALL[0]!]), ...SMALL.slice(1)];
  await assertReceives(zstdMethod, payloads, packets);
});

test("zstd refuses bad data wherever it is in a large packet of a frame that goes on", async () => {
  const page = joined([pageOf("text"), pageOf("zero-rich")]);
  const packet = joined(Array.from({ length: 64 }, (_, i) => Uint8Array.from(page, (b) => b ^ i)));
  const [first, second] = await stockPayloads(zstdStream({}), [packet, packet], ZSTD_e_flush);
  let refused = 0;
  for (let i = 0; i < 64; i++) {
    const broken = first!.slice();
    const at = Math.floor(broken.length * (i + 0.5) / 64);
    broken.fill(0xff, at, at + 24);
    const channel = await receiving(zstdMethod);
    try {
      await channel.receive(broken, packet.length);
      await channel.receive(second!, packet.length);
    } catch (error) {
      assert(error instanceof CodecError, `byte ${at}: ${error}`);
      refused++;
    }
    channel.cleanup();
  }
  assert(refused > 48, `${refused}`);
});

test("zstd refuses the wrong checksum of a frame that went over packets", async () => {
  const [first, last] = await endedFrame([NOISE, TEXT], checked);
  last![last!.length - 1]! ^= 1;
  await assertFault("bad data", zstdMethod, last!, { before: [[first!, 4096]] });
});

for (
  const [method, open, flush] of [
    [zlibMethod, () => zlib.createDeflate(), Z_SYNC_FLUSH],
    [zstdMethod, () => zstdStream({}), ZSTD_e_flush],
  ] as [Method, () => zlib.Deflate | zlib.ZstdCompress, number][]
) {
  test(`${method.name} refuses a stock packet with a page more or less than it says`, async () => {
    const packets = [TEXT, joined([NOISE, NOISE])];
    const [first, second] = await stockPayloads(open(), packets, flush);
    const before: [Uint8Array, number][] = [[first!, 4096]];
    await assertFault("too long", method, second!, { before, size: 4096 });
    await assertFault("too short", method, second!, { before, size: 3 * 4096 });
  });

  test(`${method.name} refuses a stock packet cut short at any position`, async () => {
    const [first, second] = await stockPayloads(open(), [NOISE, TEXT], flush);
    for (let size = 1; size < second!.length; size += size < 100 ? 1 : 41) {
      const channel = await receiving(method);
      await channel.receive(first!, 4096);
      const cut = second!.subarray(0, size);
      await assertRejects(() => channel.receive(cut, 4096), CodecError);
      channel.cleanup();
    }
  });

  test(`${method.name} keeps the channels' streams apart`, async () => {
    const two = [[NOISE, TEXT, NOISE], [TEXT, NOISE, TEXT]];
    const sent = await Promise.all(two.map((packets) => stockPayloads(open(), packets, flush)));
    const ends = await Promise.all(two.map(() => receiving(method)));
    for (let i = 0; i < 3; i++) {
      const got = await Promise.all(ends.map((end, j) => end.receive(sent[j]![i]!, 4096)));
      assertEquals(got, two.map((packets) => packets[i]!));
    }
    for (const end of ends) end.cleanup();
  });
}
