/** What is there at once in a thread that may block, and later in one that may not. */

/** A value, or a promise of it: engines and transports may answer with either. */
export type MaybePromise<T> = T | Promise<T>;

/**
 * Goes on with a value, at once where it is there: to await it, several times a packet, took 4 % of
 * the CPU seconds of method none under Deno.
 *
 * @param value The value.
 * @param next What is done with it.
 */
export function andThen<T, U>(
  value: MaybePromise<T>,
  next: (value: T) => MaybePromise<U>,
): MaybePromise<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}
