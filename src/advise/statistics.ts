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
