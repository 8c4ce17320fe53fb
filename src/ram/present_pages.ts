/** Which pages of a block hold data; the others are zero, whatever is in their place. */
import { PageSet } from "./page_set.ts";
import type { SharedPresentPages } from "./target.ts";

/** The pages of a block that hold data, for threads to share. */
export class PresentPages {
  /** The set of them. */
  readonly set: PageSet;
  readonly #pageSize: number;

  /**
   * @param usedLength Bytes of the block.
   * @param pageSize Page size in bytes.
   * @param bits Another thread's bits, to be one with it.
   */
  constructor(usedLength: number, pageSize: number, bits?: SharedArrayBuffer) {
    this.set = new PageSet(usedLength / pageSize, bits);
    this.#pageSize = pageSize;
  }

  /** The same, for another thread. */
  get shared(): SharedPresentPages {
    return { bits: this.set.shared, pageSize: this.#pageSize };
  }

  /** Takes note of pages that were written. */
  add(offsets: Float64Array): void {
    for (const offset of offsets) this.set.add(offset / this.#pageSize);
  }

  /**
   * Reads pages.
   *
   * @param offset Byte offset of the first.
   * @param into Filled whole.
   * @param readRun Reads neighbours that all hold data.
   */
  read(
    offset: number,
    into: Uint8Array,
    readRun: (offset: number, into: Uint8Array) => void,
  ): void {
    const size = this.#pageSize;
    const first = offset / size;
    const count = into.length / size;
    for (let start = 0, end = 0; start < count; start = end) {
      const hasData = this.set.has(first + start);
      for (end = start + 1; end < count && this.set.has(first + end) === hasData;) end++;
      const run = into.subarray(start * size, end * size);
      if (hasData) readRun(offset + start * size, run);
      else run.fill(0);
    }
  }
}
