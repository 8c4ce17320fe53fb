/** The RAM of a guest while it is received: pages go to a target, and every one is marked. */
import type { RamBlock } from "../protocol/ram_packet.ts";
import { PageSet } from "./page_set.ts";
import type { RamTarget } from "./target.ts";

interface ReceivingBlock extends RamBlock {
  index: number;
  received: PageSet;
}

/** The blocks of a guest, and which of their pages have arrived. */
export class GuestRam {
  /** The blocks by name. */
  readonly blocks: ReadonlyMap<string, ReceivingBlock>;
  /** Page size in bytes. */
  readonly pageSize: number;
  /** Pages that arrived more than once. */
  repeated = 0;
  readonly #target: RamTarget;
  readonly #zeroPage: Uint8Array;

  constructor(blocks: readonly RamBlock[], pageSize: number, target: RamTarget) {
    this.pageSize = pageSize;
    this.blocks = new Map(blocks.map((block, index) => [
      block.name,
      { ...block, index, received: new PageSet(block.usedLength / pageSize) },
    ]));
    this.#target = target;
    this.#zeroPage = new Uint8Array(pageSize);
    target.create(blocks, pageSize);
  }

  /** Bytes of all blocks. */
  get total(): number {
    let total = 0;
    for (const block of this.blocks.values()) total += block.usedLength;
    return total;
  }

  /** Pages that have arrived. */
  get receivedPages(): number {
    let count = 0;
    for (const block of this.blocks.values()) count += block.received.count;
    return count;
  }

  /**
   * Takes pages with data; neighbours are written together.
   *
   * @param name The pages' block, known.
   * @param offsets Their byte offsets, checked.
   * @param pages Their data, in the same order.
   */
  writePages(name: string, offsets: Float64Array, pages: Uint8Array): void {
    const block = this.blocks.get(name)!;
    const { pageSize } = this;
    for (let first = 0; first < offsets.length;) {
      let end = first + 1;
      while (end < offsets.length && offsets[end] === offsets[end - 1]! + pageSize) end++;
      const run = pages.subarray(first * pageSize, end * pageSize);
      this.#target.write(block.index, offsets[first]!, run);
      for (let i = first; i < end; i++) this.#mark(block, offsets[i]!);
      first = end;
    }
  }

  /**
   * Takes zero pages. The target is zero where nothing was written, so only
   * pages that came before need writing.
   */
  zeroPages(name: string, offsets: Float64Array | readonly number[]): void {
    const block = this.blocks.get(name)!;
    for (const offset of offsets) {
      if (this.#mark(block, offset)) continue;
      this.#target.write(block.index, offset, this.#zeroPage);
    }
  }

  #mark(block: ReceivingBlock, offset: number): boolean {
    const isNew = block.received.add(offset / this.pageSize);
    if (!isNew) this.repeated++;
    return isNew;
  }

  /** Pages that have not arrived, by block; blocks that are whole are left out. */
  missing(): Map<string, number> {
    const missing = new Map<string, number>();
    for (const block of this.blocks.values()) {
      const count = block.received.pages - block.received.count;
      if (count > 0) missing.set(block.name, count);
    }
    return missing;
  }
}
