/** Where a file has holes: nothing was ever written there, so it is zero without being read. */
import { nativeIo } from "../../ffi/io.ts";

/** The holes of a file that is read from its start to its end. */
export class FileHoles {
  readonly #fd: number;
  /** The stretch that was looked at last. */
  #from = 0;
  #to = 0;
  #isHole = false;

  /** @param fd The file, open for reading. */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Whether a stretch lies in a hole; a file system without holes has none. */
  covers(offset: number, length: number): boolean {
    if (offset < this.#from || offset >= this.#to) this.#look(offset);
    return this.#isHole && offset + length <= this.#to;
  }

  #look(offset: number): void {
    const data = nativeIo().file_next_data(this.#fd, offset);
    this.#from = offset;
    this.#isHole = data > offset;
    const next = this.#isHole ? data : nativeIo().file_next_hole(this.#fd, offset);
    // who cannot tell is not asked again
    this.#to = next > offset ? next : Infinity;
  }
}
