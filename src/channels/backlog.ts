/** What a thread has given to another that is not done yet: where that is much, it waits. */
import { CancelledError } from "../errors.ts";

/** As many as keep the other thread busy, and take little memory. */
const MOST = 256;
/** Far below zero, whatever is taken away or added. */
const STOPPED = -(2 ** 30);

/** Counts what is under way between two threads. */
export class Backlog {
  /** The count, for the other thread. */
  readonly shared: SharedArrayBuffer;
  readonly #count: Int32Array;

  /** @param shared The other thread's, to be one with it. */
  constructor(shared = new SharedArrayBuffer(4)) {
    this.shared = shared;
    this.#count = new Int32Array(shared);
  }

  /**
   * One more is given; blocks this thread while there are too many.
   *
   * @throws {CancelledError} If the other thread takes no more.
   */
  add(): void {
    Atomics.add(this.#count, 0, 1);
    for (;;) {
      const count = Atomics.load(this.#count, 0);
      if (count < 0) throw new CancelledError("Channel was stopped");
      if (count <= MOST) return;
      Atomics.wait(this.#count, 0, count);
    }
  }

  /** One is done. */
  done(): void {
    Atomics.sub(this.#count, 0, 1);
    Atomics.notify(this.#count, 0);
  }

  /** Nothing more is taken: who waits, waits no longer. */
  stop(): void {
    Atomics.store(this.#count, 0, STOPPED);
    Atomics.notify(this.#count, 0);
  }
}
