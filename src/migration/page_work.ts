/** The pages of an image as packets' worth of work, handed out by a counter. */
import { PACKET_SIZE, type RamBlock } from "../protocol/ram_packet.ts";

/** Neighbouring pages of one block, at most a packet's worth. */
export interface PageRun {
  /** Ordinal of the block. */
  block: number;
  /** Byte offset of the first page. */
  offset: number;
  /** Bytes of the pages. */
  length: number;
}

/** Hands out all pages once, in order. */
export class PageWork {
  readonly #blocks: readonly RamBlock[];
  #block = 0;
  #offset = 0;

  constructor(blocks: readonly RamBlock[]) {
    this.#blocks = blocks;
  }

  /** The next run of pages; undefined when all are handed out. */
  next(): PageRun | undefined {
    for (;;) {
      const block = this.#blocks[this.#block];
      if (block === undefined) return undefined;
      const length = Math.min(PACKET_SIZE, block.usedLength - this.#offset);
      if (length > 0) {
        const run = { block: this.#block, offset: this.#offset, length };
        this.#offset += length;
        return run;
      }
      this.#block++;
      this.#offset = 0;
    }
  }
}
