/** What a migration lives by: it ends everywhere with the first error, from wherever that comes. */
import { CancelledError, TimedOutError } from "../errors.ts";

const TICK_MS = 250;
/**
 * Most that one tick counts as time without progress, in milliseconds: a process that stood still
 * itself, e.g. stopped from a terminal, has not seen yet what came meanwhile.
 */
const MOST_TICK_MS = 2 * TICK_MS;

/** What a lifeline watches. */
export interface LifelineOptions {
  /** The caller's way to cancel. */
  signal?: AbortSignal | undefined;
  /** Longest time without progress, in milliseconds; 0 for none. */
  timeout: number;
  /** A number that changes with every progress, e.g. bytes moved. */
  activity: () => number;
  /** What is being waited for, for the timeout's message. */
  waitingFor: () => string;
  /** Called four times a second. */
  onTick?: (() => void) | undefined;
}

/** The error of a caller's signal that was aborted. */
export function cancelledError(signal: AbortSignal): CancelledError {
  const cause: unknown = signal.reason;
  const why = cause instanceof Error && cause.name !== "AbortError" ? `: ${cause.message}` : "";
  return new CancelledError(`Migration was cancelled${why}`, {}, { cause });
}

/** Holds the first error of a migration and gives it to all who wait. */
export class Lifeline {
  readonly #controller = new AbortController();
  readonly #failed: Promise<never>;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #options: LifelineOptions;
  #timeout: number;
  #activity = 0;
  /** Time without progress, in milliseconds. */
  #idle = 0;
  #tickedAt = performance.now();

  constructor(options: LifelineOptions) {
    this.#options = options;
    this.#timeout = options.timeout;
    const { signal } = this.#controller;
    this.#failed = new Promise((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
    this.#failed.catch(() => {});
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    options.signal?.addEventListener("abort", this.#cancel);
    if (options.signal?.aborted) this.#cancel();
  }

  readonly #cancel = (): void => this.fail(cancelledError(this.#options.signal!));

  /** Aborted with the first error. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Changes the longest time without progress, from now on; 0 for none. */
  set timeout(milliseconds: number) {
    this.#timeout = milliseconds;
    this.#idle = 0;
  }

  #tick(): void {
    this.#options.onTick?.();
    const now = performance.now();
    const activity = this.#options.activity();
    this.#idle += Math.min(now - this.#tickedAt, MOST_TICK_MS);
    this.#tickedAt = now;
    if (activity !== this.#activity) {
      this.#activity = activity;
      this.#idle = 0;
    } else if (this.#timeout > 0 && this.#idle >= this.#timeout) {
      const seconds = this.#timeout / 1000;
      this.fail(
        new TimedOutError(
          `Nothing moved for ${seconds} s, waiting for ${this.#options.waitingFor()}`,
        ),
      );
    }
  }

  /** Ends the migration; only the first error counts. */
  fail(error: unknown): void {
    this.#controller.abort(error);
  }

  /** The promise's outcome, or the migration's error if that comes first. */
  guard<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.#failed]);
  }

  /** Stops watching. */
  close(): void {
    clearInterval(this.#timer);
    this.#options.signal?.removeEventListener("abort", this.#cancel);
  }
}
