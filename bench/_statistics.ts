/** Medians and how far apart the figures behind them are. */

/** Some figures of the same thing. */
export interface Spread {
  median: number;
  min: number;
  max: number;
}

/** The upper middle of some numbers. */
export function median(numbers: readonly number[]): number {
  if (numbers.length === 0) throw new RangeError("There is no median of nothing");
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!;
}

/** Median, least and most. */
export function spreadOf(numbers: readonly number[]): Spread {
  return { median: median(numbers), min: Math.min(...numbers), max: Math.max(...numbers) };
}

/** From least to most, by the median. */
export function relativeSpread({ median, min, max }: Spread): number {
  return (max - min) / median;
}

/** `min..max`. */
export function rangeText({ min, max }: Spread, digits = 0): string {
  return `${min.toFixed(digits)}..${max.toFixed(digits)}`;
}
