/** Summaries of moves for a terminal. */
import type { Run } from "./_rounds.ts";
import { rangeText, spreadOf } from "./_statistics.ts";
import { type Comparison, ratioText, type Summary } from "./_summary.ts";

/** MB of guest RAM a second. */
export function rateOf(size: number, milliseconds: number): number {
  return size / 1000 / milliseconds;
}

/** What was measured: method, channels, program, and the engine where one is told. */
export function nameOf({ method, channels, program, engine }: Summary): string {
  const detail = engine === undefined || engine === "none" ? "" : ` (${engine})`;
  return `${method} x${channels} ${program}${detail}`;
}

/** A row for each summary, with the ratios that have a heading. */
export function movesTable(
  summaries: readonly Summary[],
  size: number,
  ratios: Partial<Record<Comparison, string>>,
): string[][] {
  const compared = Object.entries(ratios) as [Comparison, string][];
  const head = ["", "median", "min..max", "MB/s", "CPU s send", "CPU s recv", "MB sent"];
  return [
    [...head, ...compared.map(([, heading]) => heading)],
    ...summaries.map((summary) => [
      nameOf(summary),
      `${Math.round(summary.time.median)} ms`,
      rangeText(summary.time),
      rateOf(size, summary.time.median).toFixed(0),
      summary.sendCpu.median.toFixed(2),
      summary.receiveCpu.median.toFixed(2),
      (summary.bytes.median / 1e6).toFixed(1),
      ...compared.map(([name]) => ratioText(summary.ratios[name])),
    ]),
  ];
}

/** What else the machine did, and which figures do not count for it. */
export function noiseNotes(runs: readonly Run[], summaries: readonly Summary[]): string[] {
  const percent = (share: number): string => (share * 100).toFixed(1);
  const share = (of: "others" | "stolen"): string => {
    const { median, max } = spreadOf(runs.map((run) => run.load[of]));
    return `${percent(median)} % (at most ${percent(max)} %)`;
  };
  const noisy = Map.groupBy(
    summaries.filter(({ noise }) => noise !== undefined),
    ({ method, channels }) => `${method} x${channels}`,
  );
  return [
    `other processes used ${share("others")} of the machine, its host took ${share("stolen")}`,
    ...[...noisy].map(([what, rows]) =>
      `too noisy, ${what} does not count (${rows.map(({ program }) => program).join(", ")}): ` +
      `${rows[0]!.noise}`
    ),
  ];
}
