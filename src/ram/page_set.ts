/** A set of pages, one bit each, that threads may share. */

/**
 * Marks pages, most of them neighbours, in words that other threads mark, too.
 *
 * @param words The words, a bit for each page.
 * @param offsets The pages' byte offsets.
 * @param pageSize Page size in bytes.
 * @param again Room for as many offsets: those of pages that were marked go to its front.
 * @returns How many were.
 */
export type PageMarker = (
  words: Int32Array,
  offsets: Float64Array,
  pageSize: number,
  again: Float64Array,
) => number;

/** Marks pages, by one atomic operation for neighbours. */
export const markPages: PageMarker = (words, offsets, pageSize, again) => {
  let count = 0;
  for (let i = 0; i < offsets.length;) {
    const start = i;
    const word = (offsets[i]! / pageSize) >>> 5;
    let bits = 0;
    for (; i < offsets.length; i++) {
      const page = offsets[i]! / pageSize;
      const bit = 1 << (page & 31);
      if (page >>> 5 !== word || (bits & bit) !== 0) break;
      bits |= bit;
    }
    const old = Atomics.or(words, word, bits) & bits;
    for (let j = start; old !== 0 && j < i; j++) {
      if ((old & (1 << ((offsets[j]! / pageSize) & 31))) !== 0) again[count++] = offsets[j]!;
    }
  }
  return count;
};

/** Pages of a block, each of which is in the set or not. */
export class PageSet {
  /** How many pages there are. */
  readonly pages: number;
  /** The bits, in shared memory. */
  readonly shared: SharedArrayBuffer;
  readonly #words: Int32Array;

  /**
   * @param pages How many pages there are.
   * @param shared Another thread's set of as many pages, to be one with it.
   */
  constructor(pages: number, shared = new SharedArrayBuffer(4 * Math.ceil(pages / 32))) {
    this.pages = pages;
    this.shared = shared;
    this.#words = new Int32Array(shared);
  }

  /** How many pages are in the set. */
  get count(): number {
    let count = 0;
    for (const word of this.#words) count += bitsOf(word);
    return count;
  }

  /** Puts a page in; false if it was in already. */
  add(page: number): boolean {
    const bit = 1 << (page & 31);
    return (Atomics.or(this.#words, page >>> 5, bit) & bit) === 0;
  }

  /**
   * Puts pages in.
   *
   * @param offsets Their byte offsets.
   * @param pageSize Page size in bytes.
   * @param again Room for as many offsets: those of pages that were in already go to its front.
   * @param mark How.
   * @returns How many were.
   */
  addAll(offsets: Float64Array, pageSize: number, again: Float64Array, mark = markPages): number {
    return mark(this.#words, offsets, pageSize, again);
  }

  /** Whether a page is in the set. */
  has(page: number): boolean {
    return (this.#words[page >>> 5]! & (1 << (page & 31))) !== 0;
  }

  /** Writes the set as a bitmap: page i is bit i & 7 of byte i >> 3. */
  toBitmap(bitmap: Uint8Array): void {
    const view = new DataView(bitmap.buffer, bitmap.byteOffset, bitmap.byteLength);
    for (const [i, word] of this.#words.entries()) view.setInt32(4 * i, word, true);
  }

  /** Reads a bitmap, of whole 32-bit words, into the set. */
  fromBitmap(bitmap: Uint8Array): void {
    const view = new DataView(bitmap.buffer, bitmap.byteOffset, bitmap.byteLength);
    for (const i of this.#words.keys()) this.#words[i] = view.getInt32(4 * i, true);
  }
}

function bitsOf(word: number): number {
  let bits = word - ((word >>> 1) & 0x55555555);
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
