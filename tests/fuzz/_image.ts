/** Where a receiver's pages go in the fuzzer: every write is checked, and all are kept. */
import { assert } from "@std/assert";
import type { RamBlock } from "../../src/protocol/ram_packet.ts";
import type { FinishedBlock, RamTarget, ReceivedVm } from "../../src/ram/target.ts";

/** Pages by `block\0offset`; what was never written is zero. */
export type Pages = Map<string, Uint8Array>;

/** The key of a page. */
export function pageKey(block: string, offset: number): string {
  return `${block}\0${offset}`;
}

/** A target that takes nothing outside of its blocks, and nothing once it is closed. */
export class CheckedImage implements RamTarget {
  /** What was written. */
  readonly pages: Pages = new Map();
  /** The blocks, once they are known. */
  blocks: readonly RamBlock[] = [];
  readonly #maxRam: number;
  #pageSize = 0;
  #state: "new" | "open" | "finished" | "discarded" = "new";
  /** What was wrong first; whoever caused it may not pass the error on. */
  wrong: unknown;

  /** @param maxRam The bound that the receiver was told. */
  constructor(maxRam: number) {
    this.#maxRam = maxRam;
  }

  #check(isRight: boolean, what: string): void {
    try {
      assert(isRight, what);
    } catch (error) {
      this.wrong ??= error;
      throw error;
    }
  }

  create(blocks: readonly RamBlock[], pageSize: number): void {
    this.#check(this.#state === "new", "the blocks are made twice");
    const total = blocks.reduce((sum, { usedLength }) => sum + usedLength, 0);
    this.#check(total > 0 && total <= this.#maxRam, `blocks of ${total} bytes`);
    const isWhole = blocks.every(({ usedLength }) => usedLength % pageSize === 0);
    this.#check(isWhole, "a block is not whole pages");
    this.#check(new Set(blocks.map(({ name }) => name)).size === blocks.length, "names repeat");
    this.#state = "open";
    this.blocks = blocks;
    this.#pageSize = pageSize;
  }

  write(block: number, offsets: Float64Array, pages: Uint8Array): void {
    const size = this.#pageSize;
    this.#check(this.#state === "open", `a write into an image that is ${this.#state}`);
    const place = this.blocks[block];
    this.#check(place !== undefined, `a write into block ${block}`);
    this.#check(pages.length === offsets.length * size, `${pages.length} bytes of pages`);
    for (const [i, offset] of offsets.entries()) {
      const isInside = offset >= 0 && offset % size === 0 && offset + size <= place!.usedLength;
      this.#check(isInside, `a write at ${offset} of ${place!.usedLength} bytes`);
      this.pages.set(pageKey(place!.name, offset), pages.slice(i * size, (i + 1) * size));
    }
  }

  finish(_vm: ReceivedVm, blocks: readonly FinishedBlock[]): Promise<FinishedBlock[]> {
    this.#check(this.#state === "open", `the end of an image that is ${this.#state}`);
    this.#state = "finished";
    return Promise.resolve([...blocks]);
  }

  discard(): void {
    this.#state = "discarded";
  }
}
