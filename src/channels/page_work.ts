/** The pages of an image as packets' worth of work, handed out by a counter that threads share. */
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

const NEXT_RUN = 0;
const NEXT_PACKET = 1;

/** Hands out all pages once, in order, and the packets' numbers. */
export class PageWork {
  /** The counters, for another thread. */
  readonly shared: SharedArrayBuffer;
  readonly #counters: Int32Array;
  readonly #blocks: readonly RamBlock[];

  /**
   * @param blocks The blocks to hand out.
   * @param shared Another thread's counters, to be one with it.
   */
  constructor(blocks: readonly RamBlock[], shared = new SharedArrayBuffer(8)) {
    this.#blocks = blocks;
    this.shared = shared;
    this.#counters = new Int32Array(shared);
  }

  /** The next packet's number, over all channels together. */
  nextPacketNum(): number {
    return Atomics.add(this.#counters, NEXT_PACKET, 1);
  }

  /** The next run of pages; undefined when all are handed out. */
  next(): PageRun | undefined {
    let index = Atomics.add(this.#counters, NEXT_RUN, 1);
    for (let block = 0; block < this.#blocks.length; block++) {
      const { usedLength } = this.#blocks[block]!;
      const runs = Math.ceil(usedLength / PACKET_SIZE);
      if (index < runs) {
        const offset = index * PACKET_SIZE;
        return { block, offset, length: Math.min(PACKET_SIZE, usedLength - offset) };
      }
      index -= runs;
    }
    return undefined;
  }
}
