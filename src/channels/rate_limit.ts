/** The rate that all channels of a migration keep to together, as QEMU's max-bandwidth. */
import { CancelledError } from "../errors.ts";

/**
 * Time that nobody used and may still be made up for, in milliseconds: threads wake late, sockets
 * stall. QEMU counts by tenths of a second, too.
 */
const SLACK_MS = 100;
/** How often a thread that may not block looks whether the migration is over, in milliseconds. */
const LOOK_MS = 50;
const NS_PER_MS = 1e6;
const SHARED_SIZE = 24;

/** Milliseconds that mean the same in every thread; performance.now() alone does not. */
function sharedNow(): number {
  return performance.timeOrigin + performance.now();
}

/**
 * A line that every packet joins: it takes as long as its bytes do at the rate, from when the
 * one before it is through. Where the line's end is, is shared memory.
 */
export class RateLimit {
  /** The limit, for another thread. */
  readonly shared: SharedArrayBuffer;
  /** When everything that joined is through, in nanoseconds; 0 before the first. */
  readonly #end: BigInt64Array;
  readonly #stopped: Int32Array;
  readonly #rate: Float64Array;
  readonly #mayBlock: boolean;
  readonly #now: () => number;

  /**
   * @param limit Bytes per second, or another thread's limit, to be one with it.
   * @param mayBlock Whether this thread may block while it waits.
   * @param now A clock, in milliseconds.
   */
  constructor(limit: number | SharedArrayBuffer, mayBlock = false, now = sharedNow) {
    this.shared = typeof limit === "number" ? new SharedArrayBuffer(SHARED_SIZE) : limit;
    this.#end = new BigInt64Array(this.shared, 0, 1);
    this.#rate = new Float64Array(this.shared, 8, 1);
    this.#stopped = new Int32Array(this.shared, 16, 1);
    this.#mayBlock = mayBlock;
    this.#now = now;
    if (typeof limit === "number") this.#rate[0] = limit;
  }

  #nanoseconds(milliseconds: number): bigint {
    return BigInt(Math.round(milliseconds * NS_PER_MS));
  }

  /** Joins the line with some bytes; returns when they may go out. */
  reserve(bytes: number): number {
    const length = this.#nanoseconds(bytes * 1000 / this.#rate[0]!);
    for (;;) {
      const before = Atomics.load(this.#end, 0);
      // the first has nothing to make up for, so that no average exceeds the rate
      const slack = before === 0n ? 0 : SLACK_MS;
      const earliest = this.#nanoseconds(this.#now() - slack);
      const end = (before > earliest ? before : earliest) + length;
      const seen = Atomics.compareExchange(this.#end, 0, before, end);
      if (seen === before) return Number(end) / NS_PER_MS;
    }
  }

  /** Whether a time that was reserved has come. */
  isDue(at: number): boolean {
    return this.#now() >= at;
  }

  /**
   * Waits for a time that was reserved.
   *
   * @throws {CancelledError} If the migration is over before.
   */
  async until(at: number): Promise<void> {
    for (let left = at - this.#now(); left > 0; left = at - this.#now()) {
      if (Atomics.load(this.#stopped, 0) !== 0) throw new CancelledError("Channel was stopped");
      if (this.#mayBlock) Atomics.wait(this.#stopped, 0, 0, left);
      else await new Promise((resolve) => setTimeout(resolve, Math.min(left, LOOK_MS)));
    }
  }

  /** Ends all waiting: the migration is over. */
  stop(): void {
    Atomics.store(this.#stopped, 0, 1);
    Atomics.notify(this.#stopped, 0);
  }
}
