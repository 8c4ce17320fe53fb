/** The shim's loops over a packet's pages do what those in TypeScript do, to the bit. */
import { test } from "node:test";
import { assertEquals, assertThrows } from "@std/assert";
import { nativePageLoops } from "../../src/channels/native_page_loops.ts";
import { type PageLoops, pageLoops } from "../../src/channels/page_loops.ts";
import { pagesPerPacket } from "../../src/protocol/ram_packet.ts";
import { Random } from "../_random.ts";

const native = nativePageLoops();
const PAGE_SIZES = [4096, 16384, 65536];
const ROUNDS = 200;

/** What both give for the same input. */
function both<T>(run: (loops: PageLoops) => T): T {
  const [here, there] = [run(pageLoops), run(native)];
  assertEquals(there, here);
  return here;
}

/** Pages of some size, some of them zero but for one byte anywhere. */
function somePages(random: Random, pageSize: number, count: number): Uint8Array {
  const pages = new Uint8Array(count * pageSize);
  for (let i = 0; i < count; i++) {
    const place = random.pick([undefined, 0, 1, pageSize - 1, random.below(pageSize)]);
    if (place !== undefined) pages[i * pageSize + place] = 1 + random.below(255);
  }
  return pages;
}

/** Page-aligned offsets in a block, many of them neighbours, some twice. */
function someOffsets(random: Random, pageSize: number, pages: number): Float64Array {
  const offsets = new Float64Array(random.below(pagesPerPacket(pageSize) + 1));
  let page = random.below(pages);
  for (const i of offsets.keys()) {
    page = random.below(8) > 0 ? (page + 1) % pages : random.below(pages);
    offsets[i] = page * pageSize;
  }
  return offsets;
}

for (const pageSize of PAGE_SIZES) {
  test(`pages of ${pageSize} bytes are sorted alike`, () => {
    const random = new Random(pageSize);
    const most = pagesPerPacket(pageSize);
    for (const count of [0, 1, most - 1, most]) {
      const pages = somePages(random, pageSize, count);
      const first = random.below(2 ** 20) * pageSize;
      const { ordinals } = both(({ sortPages }) => {
        const [ordinals, offsets] = [new Uint32Array(most), new Float64Array(most)];
        return { normal: sortPages(pages, pageSize, first, ordinals, offsets), ordinals, offsets };
      });
      assertEquals(
        [...ordinals.subarray(0, count)].sort((a, b) => a - b),
        [...Array(count).keys()],
      );
    }
  });

  test(`offsets of ${pageSize}-byte pages are written and read alike, whatever is wrong`, () => {
    const random = new Random(pageSize + 1);
    const usedLength = 5000 * pageSize;
    for (let round = 0; round < ROUNDS; round++) {
      const offsets = someOffsets(random, pageSize, 5000);
      const bytes = both(({ writeOffsets }) => {
        const bytes = new Uint8Array(8 * offsets.length);
        writeOffsets(offsets, bytes);
        return bytes;
      });
      if (round % 2 === 1 && bytes.length > 0) bytes[random.below(bytes.length)] = random.u32();
      const { read, good } = both(({ readOffsets }) => {
        const read = new Float64Array(offsets.length);
        return { good: readOffsets(bytes, pageSize, usedLength, read), read };
      });
      if (round % 2 === 0) assertEquals([good, read], [offsets.length, offsets]);
    }
  });

  test(`the last page of a block is read, and the one behind it is not, ${pageSize} bytes`, () => {
    for (
      const [offset, usedLength, expected] of [
        [7 * pageSize, 8 * pageSize, 1],
        [8 * pageSize, 8 * pageSize, 0],
        [0, pageSize / 2, 0],
        [2 ** 53 - pageSize, 2 ** 53, 1],
        [2 ** 53, 2 ** 53, 0],
      ] as const
    ) {
      const good = both(({ readOffsets }) => {
        const bytes = new Uint8Array(8);
        new DataView(bytes.buffer).setBigUint64(0, BigInt(offset));
        return readOffsets(bytes, pageSize, usedLength, new Float64Array(1));
      });
      assertEquals(good, expected, `${offset} of ${usedLength}`);
    }
  });

  test(`pages of ${pageSize} bytes are marked alike, those that come again, too`, () => {
    const random = new Random(pageSize + 2);
    const sets = new Map([pageLoops, native].map((loops) => [loops, new Int32Array(10)]));
    for (let round = 0; round < ROUNDS; round++) {
      const offsets = someOffsets(random, pageSize, 320);
      both((loops) => {
        const words = sets.get(loops)!;
        const again = new Float64Array(offsets.length);
        const count = loops.markPages(words, offsets, pageSize, again);
        return { again: again.subarray(0, count), words };
      });
      if (round % 20 === 0) { for (const words of sets.values()) words.fill(0); }
    }
  });
}

test("the shim's loops refuse what would lead them out of their arrays", () => {
  const room = new Float64Array(1000);
  const behind = Float64Array.of(32 * 4096);
  assertThrows(() => native.markPages(new Int32Array(1), behind, 4096, room), RangeError);
  assertThrows(
    () => native.markPages(new Int32Array(1), behind.map(() => -1), 4096, room),
    RangeError,
  );
  assertThrows(
    () => native.markPages(new Int32Array(1), behind.map(() => NaN), 4096, room),
    RangeError,
  );
  assertThrows(() => native.writeOffsets(room, new Uint8Array(8000)), RangeError);
  assertThrows(() => native.readOffsets(new Uint8Array(8000), 4096, 2 ** 30, room), RangeError);
  assertThrows(() => native.readOffsets(new Uint8Array(8), 3000, 2 ** 30, behind), RangeError);
  const pages = new Uint8Array(129 * 4096);
  assertThrows(() => native.sortPages(pages, 4096, 0, new Uint32Array(129), room), RangeError);
});
