/** A sample of a guest's pages, in the packets that a migration would send them in. */
import type { PageRun } from "../channels/page_work.ts";
import { ImageError } from "../errors.ts";
import { PACKET_SIZE, type RamBlock } from "../protocol/ram_packet.ts";
import { randomNumbers } from "../random_numbers.ts";
import type { RamSource } from "../ram/target.ts";
import { isZeroPage } from "../ram/zero_page.ts";

/** What pages are read from. */
export type PageSource = Pick<RamSource, "blocks" | "read">;

/** Sampled pages. */
export interface Sample {
  /** Bytes of the whole source, in whole pages. */
  totalBytes: number;
  /** Page size in bytes. */
  pageSize: number;
  /** Pages that were looked at. */
  pages: number;
  /** Of those, pages that are all zero. */
  zeroPages: number;
  /** Of those, pages with data that another page of the sample has, too. */
  duplicatePages: number;
  /** The pages with data, packet by packet as they would be sent. */
  packets: Uint8Array[];
}

/**
 * Chooses what to read: as many equal parts of the RAM as fit the sample, and of each part
 * one packet's worth by chance, so that no region is missed or counted twice.
 *
 * @param blocks The blocks.
 * @param pageSize Page size in bytes.
 * @param sampleBytes Bytes to read; everything is read where that is no less.
 * @param seed The same choice for the same seed.
 */
export function planRuns(
  blocks: readonly RamBlock[],
  pageSize: number,
  sampleBytes: number,
  seed: number,
): PageRun[] {
  const lengths = blocks.map(({ usedLength }) => usedLength - usedLength % pageSize);
  const counts = lengths.map((length) => Math.ceil(length / PACKET_SIZE));
  const total = counts.reduce((sum, count) => sum + count, 0);
  const wanted = Math.min(total, Math.max(1, Math.floor(sampleBytes / PACKET_SIZE)));
  const random = randomNumbers(seed);
  const runs: PageRun[] = [];
  for (let part = 0; part < wanted; part++) {
    const first = Math.floor(part * total / wanted);
    const end = Math.floor((part + 1) * total / wanted);
    let index = first + Math.floor(random() * (end - first));
    const block = counts.findIndex((count) => {
      if (index < count) return true;
      index -= count;
      return false;
    });
    const offset = index * PACKET_SIZE;
    runs.push({ block, offset, length: Math.min(PACKET_SIZE, lengths[block]! - offset) });
  }
  return runs;
}

/**
 * Samples a source.
 *
 * @param source What is read.
 * @param pageSize Page size in bytes.
 * @param sampleBytes Bytes to read.
 * @param seed The same pages for the same seed.
 * @throws {ImageError} If there is no page.
 */
export function takeSample(
  source: PageSource,
  pageSize: number,
  sampleBytes: number,
  seed: number,
): Sample {
  const sizes = source.blocks.map(({ usedLength }) => usedLength - usedLength % pageSize);
  const totalBytes = sizes.reduce((sum, size) => sum + size, 0);
  if (totalBytes === 0) throw new ImageError("Cannot sample: there is not one page");
  const seen = new Set<number>();
  const packets: Uint8Array[] = [];
  let [pages, zeroPages, duplicatePages] = [0, 0, 0];
  for (const run of planRuns(source.blocks, pageSize, sampleBytes, seed)) {
    const bytes = new Uint8Array(run.length);
    source.read(run.block, run.offset, bytes);
    let filled = 0;
    for (let at = 0; at < bytes.length; at += pageSize) {
      const page = bytes.subarray(at, at + pageSize);
      pages++;
      if (isZeroPage(page)) {
        zeroPages++;
        continue;
      }
      const hash = hashOf(page);
      if (seen.has(hash)) duplicatePages++;
      seen.add(hash);
      bytes.copyWithin(filled, at, at + pageSize);
      filled += pageSize;
    }
    if (filled > 0) packets.push(bytes.subarray(0, filled));
  }
  return { totalBytes, pageSize, pages, zeroPages, duplicatePages, packets };
}

/** 53 bits of a page: pages that differ share them in one sample of millions. */
function hashOf(page: Uint8Array): number {
  const words = new Uint32Array(page.buffer, page.byteOffset, page.length >> 2);
  let [a, b] = [0x811c9dc5, 0x9e3779b9];
  for (const word of words) {
    a = Math.imul(a ^ word, 0x01000193);
    a ^= a >>> 15;
    b = Math.imul(b + word, 0x85ebca6b);
    b ^= b >>> 13;
  }
  return (a >>> 0) * 2 ** 21 + (b >>> 11);
}
