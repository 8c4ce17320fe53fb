/** A set of pages: one bit each. */
export class PageSet {
  /** How many pages there are. */
  readonly pages: number;
  readonly #bits: Uint8Array;
  #count = 0;

  /** @param pages How many pages there are. */
  constructor(pages: number) {
    this.pages = pages;
    this.#bits = new Uint8Array(Math.ceil(pages / 8));
  }

  /** How many pages are in the set. */
  get count(): number {
    return this.#count;
  }

  /** Puts a page in; false if it was in already. */
  add(page: number): boolean {
    const at = Math.floor(page / 8);
    const bit = 1 << (page & 7);
    if ((this.#bits[at]! & bit) !== 0) return false;
    this.#bits[at]! |= bit;
    this.#count++;
    return true;
  }
}
