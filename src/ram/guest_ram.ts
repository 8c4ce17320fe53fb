/** The RAM of a guest while it is received: pages go to a target, and every one is marked. */
import { pagesPerPacket, type RamBlock } from "../protocol/ram_packet.ts";
import { markPages, type PageMarker, PageSet } from "./page_set.ts";

/** As much of a target as pages need. */
export interface PageWriter {
  /** Whether another thread writes just now, and this one would wait. */
  readonly isBusy?: boolean;
  /** Writes pages of a block at their offsets. */
  write(block: number, offsets: Float64Array, pages: Uint8Array): void;
}

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
  readonly #writer: PageWriter;
  readonly #zeroPage: Uint8Array;
  /** Used again for each packet: arrays keep a thread's collector busy. */
  readonly #again: Float64Array;
  readonly #markPages: PageMarker;

  /**
   * @param blocks The blocks, in order.
   * @param pageSize Page size in bytes.
   * @param writer Where the pages go; all zero at first.
   * @param received What {@linkcode received} gave in another thread, to be one with it.
   * @param mark How pages are marked.
   */
  constructor(
    blocks: readonly RamBlock[],
    pageSize: number,
    writer: PageWriter,
    received: readonly SharedArrayBuffer[] = [],
    mark: PageMarker = markPages,
  ) {
    this.pageSize = pageSize;
    this.blocks = new Map(blocks.map((block, index) => [
      block.name,
      { ...block, index, received: new PageSet(block.usedLength / pageSize, received[index]) },
    ]));
    this.#writer = writer;
    this.#markPages = mark;
    this.#zeroPage = new Uint8Array(pageSize);
    this.#again = new Float64Array(pagesPerPacket(pageSize));
  }

  /** Whether another thread writes just now, and this one would wait. */
  get isBusy(): boolean {
    return this.#writer.isBusy === true;
  }

  /** Bytes of all blocks. */
  get total(): number {
    let total = 0;
    for (const block of this.blocks.values()) total += block.usedLength;
    return total;
  }

  /** Which pages have arrived, for another thread. */
  get received(): SharedArrayBuffer[] {
    return [...this.blocks.values()].map((block) => block.received.shared);
  }

  /**
   * Takes pages with data.
   *
   * @param name The pages' block, known.
   * @param offsets Their byte offsets, checked.
   * @param pages Their data, in the same order.
   */
  writePages(name: string, offsets: Float64Array, pages: Uint8Array): void {
    const block = this.blocks.get(name)!;
    this.#writer.write(block.index, offsets, pages);
    this.#mark(block, offsets);
  }

  /**
   * Takes zero pages. The target is zero where nothing was written, so only
   * pages that came before need writing.
   */
  zeroPages(name: string, offsets: Float64Array): void {
    const block = this.blocks.get(name)!;
    const again = this.#mark(block, offsets);
    for (let i = 0; i < again; i++) {
      this.#writer.write(block.index, this.#again.slice(i, i + 1), this.#zeroPage);
    }
  }

  /** Marks pages as received; how many were, whose offsets are then at the front of #again. */
  #mark(block: ReceivingBlock, offsets: Float64Array): number {
    const again = block.received.addAll(offsets, this.pageSize, this.#again, this.#markPages);
    this.repeated += again;
    return again;
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
