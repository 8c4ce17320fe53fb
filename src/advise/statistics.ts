/** Medians, how far apart the figures behind them are, and numbers by chance from a seed. */

/** Some figures of the same thing. */
export interface Spread {
  /** The one in the middle. */
  median: number;
  /** The least. */
  min: number;
  /** The most. */
  max: number;
}

/** Median, least and most; the lower of two in the middle. */
export function spreadOf(numbers: readonly number[]): Spread {
  if (numbers.length === 0) throw new RangeError("There is no median of nothing");
  const sorted = numbers.toSorted((a, b) => a - b);
  return {
    median: sorted[(sorted.length - 1) >> 1]!,
    min: sorted[0]!,
    max: sorted.at(-1)!,
  };
}

/** The middle of some numbers. */
export function medianOf(numbers: readonly number[]): number {
  return spreadOf(numbers).median;
}

/** Numbers from 0 to below 1, the same for one seed (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
