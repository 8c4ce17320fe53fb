/** Waiting that ends: with its outcome, its timeout, or the caller's signal. */
import { TimedOutError } from "../errors.ts";
import { cancelledError } from "../migration/lifeline.ts";

/** What ends a wait. */
export interface Bounds {
  /** Longest time, in milliseconds; 0 for none. */
  timeout: number;
  /** What the timeout's error says. */
  onTimeout: string;
  /** The caller's way to give up. */
  signal?: AbortSignal | undefined;
}

/**
 * Runs something that may wait.
 *
 * @param run Gets a signal that is aborted, with the error, when the wait is over.
 * @param bounds What ends the wait.
 * @throws {TimedOutError} If it takes longer than `timeout`.
 * @throws {CancelledError} If `signal` is aborted.
 */
export async function bounded<T>(
  run: (signal: AbortSignal) => Promise<T>,
  { timeout, onTimeout, signal }: Bounds,
): Promise<T> {
  const over = new AbortController();
  const ended = new Promise<never>((_, reject) => {
    over.signal.addEventListener("abort", () => reject(over.signal.reason), { once: true });
  });
  const cancel = (): void => over.abort(cancelledError(signal!));
  signal?.addEventListener("abort", cancel, { once: true });
  if (signal?.aborted) cancel();
  const timer = timeout > 0
    ? setTimeout(() => over.abort(new TimedOutError(onTimeout)), timeout)
    : undefined;
  try {
    return await Promise.race([ended, run(over.signal)]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", cancel);
  }
}

/** Waits a moment, or less if the signal is aborted. */
export async function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal?.addEventListener("abort", done, { once: true });
  });
}

/** The promise's value, or undefined if it takes longer. */
export async function within<T>(milliseconds: number, promise: Promise<T>): Promise<T | undefined> {
  const over = new AbortController();
  try {
    return await Promise.race([promise, pause(milliseconds, over.signal).then(() => undefined)]);
  } finally {
    over.abort();
  }
}
