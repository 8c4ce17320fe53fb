/** Where a file has holes: nothing was ever written there, so it is zero without being read. */
import { nativeIo } from "../../ffi/io.ts";

/** The holes of a file that is read from its start to its end. */
export class FileHoles {
  readonly #fd: number;
  /** The hole that was found last. */
  #from = 0;
  #to = 0;

  /** @param fd The file, open for reading. */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Whether a stretch lies in a hole; a file system without holes has none. */
  covers(offset: number, length: number): boolean {
    if (offset < this.#from || offset >= this.#to) {
      // where the next hole is, is not asked: for that tmpfs looks at every page before it
      this.#from = offset;
      this.#to = nativeIo().file_next_data(this.#fd, offset);
    }
    return offset + length <= this.#to;
  }
}
