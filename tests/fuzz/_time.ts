/** Milliseconds of `30s`, `10m` or `1h`. */
export function parseTime(text: string): number {
  const match = /^(\d+)(s|m|h)$/.exec(text);
  if (match === null) throw new Error(`--time is e.g. 30s, 10m or 1h, not "${text}"`);
  return Number(match[1]) * { s: 1000, m: 60_000, h: 3_600_000 }[match[2] as "s" | "m" | "h"];
}
