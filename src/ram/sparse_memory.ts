/** RAM in memory that takes room only where pages have data: for inspecting without a disk. */
import { ImageError } from "../errors.ts";
import type { RamBlock } from "../protocol/ram_packet.ts";
import { sha256Of } from "./hash.ts";
import { type FinishedBlock, type RamTarget, type ReceivedVm, runsOf } from "./target.ts";

/** Divides what sha256Of asks for, and is divided by every page size. */
const CHUNK = 1024 * 1024;
const MAX_BYTES = 8 * 1024 ** 3;

/** A target that keeps chunks of 1 MiB, and none for what is all zero. */
export class SparseMemory implements RamTarget {
  #chunks: Map<number, Uint8Array>[] = [];
  #bytes = 0;

  /** Notes the blocks; takes no memory yet. */
  create(blocks: readonly RamBlock[], _pageSize: number): void {
    this.#chunks = blocks.map(() => new Map());
  }

  /** Copies pages in, chunk by chunk. */
  write(block: number, offsets: Float64Array, pages: Uint8Array): void {
    for (const { offset, bytes } of runsOf(offsets, pages)) this.#writeRun(block, offset, bytes);
  }

  #writeRun(block: number, offset: number, bytes: Uint8Array): void {
    const chunks = this.#chunks[block]!;
    for (let at = 0; at < bytes.length;) {
      const index = Math.floor((offset + at) / CHUNK);
      const start = (offset + at) % CHUNK;
      const piece = bytes.subarray(at, at + CHUNK - start);
      let chunk = chunks.get(index);
      if (chunk === undefined) {
        chunk = this.#allocate();
        chunks.set(index, chunk);
      }
      chunk.set(piece, start);
      at += piece.length;
    }
  }

  #allocate(): Uint8Array {
    this.#bytes += CHUNK;
    if (this.#bytes > MAX_BYTES) {
      throw new ImageError("Cannot hold this RAM in memory; rebuild it on disk with --extract", {
        expected: `at most ${MAX_BYTES} bytes of data`,
      });
    }
    return new Uint8Array(CHUNK);
  }

  /** Hashes the blocks. */
  async finish(_vm: ReceivedVm, blocks: readonly FinishedBlock[]): Promise<FinishedBlock[]> {
    const finished: FinishedBlock[] = [];
    for (const [i, block] of blocks.entries()) {
      const sha256 = await sha256Of(block.usedLength, (at, size) => this.#read(i, at, size));
      finished.push({ ...block, sha256 });
    }
    return finished;
  }

  #read(block: number, offset: number, size: number): Uint8Array {
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size; at += CHUNK) {
      const chunk = this.#chunks[block]!.get((offset + at) / CHUNK);
      if (chunk !== undefined) bytes.set(chunk.subarray(0, Math.min(CHUNK, size - at)), at);
    }
    return bytes;
  }

  /** Lets the memory go. */
  discard(): void {
    this.#chunks = [];
  }
}
