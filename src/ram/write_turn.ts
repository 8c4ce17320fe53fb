/** Turns at writing a file, for threads. */

const FREE = 0;
const TAKEN = 1;
const WANTED = 2;
/** A turn only saves time, so nobody waits long for a thread that died in its own, in milliseconds. */
const PATIENCE_MS = 100;

/**
 * Lets one thread write at a time. The kernel does so anyway, for each file, but has the others
 * spin meanwhile: a fifth of a receiver's CPU seconds with two channels on two cores.
 */
export class WriteTurn {
  /** The turn, for another thread. */
  readonly shared: SharedArrayBuffer;
  readonly #word: Int32Array;

  /** @param shared Another thread's turn, to be one with it. */
  constructor(shared = new SharedArrayBuffer(4)) {
    this.shared = shared;
    this.#word = new Int32Array(shared);
  }

  /** Whether a thread has its turn. */
  get isTaken(): boolean {
    return Atomics.load(this.#word, 0) !== FREE;
  }

  /** Waits for the turn; a thread that may not block does not take turns. */
  take(): void {
    if (Atomics.compareExchange(this.#word, 0, FREE, TAKEN) === FREE) return;
    while (Atomics.exchange(this.#word, 0, WANTED) !== FREE) {
      if (Atomics.wait(this.#word, 0, WANTED, PATIENCE_MS) === "timed-out") return;
    }
  }

  /** Gives the turn to the next thread. */
  pass(): void {
    if (Atomics.exchange(this.#word, 0, FREE) === WANTED) Atomics.notify(this.#word, 0, 1);
  }
}
