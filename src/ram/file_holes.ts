/** Where a file has holes: nothing was ever written there, so it is zero without being read. */
import { nativeIo } from "../../ffi/io.ts";

/** How far behind data nothing is asked, in bytes: to ask costs a call for each packet. */
const MOST_UNASKED = 8 * 1024 * 1024;

/** The holes of a file that is read from its start to its end. */
export class FileHoles {
  readonly #fd: number;
  /** The hole that was found last. */
  #from = 0;
  #to = 0;
  /** Where data was found first behind it, and from where on it is asked again; 0 in a hole. */
  #dataAt = 0;
  #askAt = 0;

  /** @param fd The file, open for reading. */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Whether a stretch is known to lie in a hole; a file system without holes has none. The longer
   * there was data, the later a hole is looked for.
   */
  covers(offset: number, length: number): boolean {
    if (offset >= this.#from && offset < this.#to) return offset + length <= this.#to;
    if (offset >= this.#dataAt && offset < this.#askAt) return false;
    // where the next hole is, is not asked: for that tmpfs looks at every page before it
    this.#from = offset;
    this.#to = nativeIo().file_next_data(this.#fd, offset);
    if (this.#to > offset) {
      this.#askAt = 0;
      return offset + length <= this.#to;
    }
    if (this.#askAt === 0) this.#dataAt = offset;
    this.#askAt = offset + Math.min(Math.max(offset - this.#dataAt, length), MOST_UNASKED);
    return false;
  }
}
