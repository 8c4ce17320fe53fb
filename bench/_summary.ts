/** From raw runs to medians, ratios and verdicts. */
import type { Load } from "./_load.ts";
import type { Run } from "./_rounds.ts";
import { median, rangeText, relativeSpread, type Spread, spreadOf } from "./_statistics.ts";

/** A spread of the reference, by its median, above which the machine was too busy to tell. */
const MOST_SPREAD = 0.5;
/** The share of the machine that others may use, by the median over the runs. */
const MOST_OTHERS = 0.1;

/** How a program may compare with the reference in the same round. */
export const COMPARISONS = {
  /** Time by the reference's. */
  wall: (mine: Run, other: Run) => mine.time / other.time,
  /** The same to the destination's word that all is well. */
  whole: (mine: Run, other: Run) => mine.wholeTime / other.wholeTime,
  /** The reference's time by the program's: how much of its speed is reached. */
  speed: (mine: Run, other: Run) => other.time / mine.time,
  /** CPU seconds of both sides, by the reference's. */
  cpu: (mine: Run, other: Run) => cpuOf(mine) / cpuOf(other),
  /** Bytes sent, by the reference's. */
  bytes: (mine: Run, other: Run) => mine.bytes / other.bytes,
};

/** What is compared. */
export type Comparison = keyof typeof COMPARISONS;

/** What a ratio's median must be. */
export interface Limit {
  atMost?: number;
  atLeast?: number;
}

/** The limits of one program with one method. */
export type Limits = Partial<Record<Comparison, Limit>>;

/** `none`: there is no limit. */
export type Verdict = "met" | "missed" | "too noisy" | "none";

/** A ratio to the reference over all rounds. */
export interface Ratio extends Spread, Limit {
  verdict: Verdict;
}

/** What one program did with one method and number of channels. */
export interface Summary {
  method: string;
  channels: number;
  program: string;
  /** What computed the method at our end; the receiving one where both are ours. */
  engine: string | undefined;
  time: Spread;
  sendCpu: Spread;
  receiveCpu: Spread;
  bytes: Spread;
  /** To the reference; nothing for the reference itself, and where it cannot do the method. */
  ratios: Partial<Record<Comparison, Ratio>>;
  /** Why the ratios do not count. */
  noise: string | undefined;
}

function cpuOf(run: Run): number {
  return run.sendCpu + run.receiveCpu;
}

/** Whether a median keeps a limit, to four digits: a few bytes in a gigabyte are no miss. */
export function verdictOf(value: number, { atMost, atLeast }: Limit): Verdict {
  if (atMost === undefined && atLeast === undefined) return "none";
  const rounded = Number(value.toFixed(4));
  return rounded <= (atMost ?? Infinity) && rounded >= (atLeast ?? -Infinity) ? "met" : "missed";
}

/** Why figures measured beside these do not count; undefined if they do. */
export function noiseOf(reference: readonly Run[], others: readonly Run[]): string | undefined {
  const runs = [...reference, ...others];
  if (reference.length > 0) {
    const spread = relativeSpread(spreadOf(reference.map((run) => run.time)));
    const percent = Math.round(spread * 100);
    if (spread > MOST_SPREAD) return `${reference[0]!.program} itself spreads by ${percent} %`;
  }
  return isBusy(runs) ? `others used ${Math.round(othersOf(runs) * 100)} %` : undefined;
}

function othersOf(runs: readonly { load: Load }[]): number {
  return median(runs.map((run) => run.load.others));
}

/** Whether others used so much of the machine that times mean nothing. */
export function isBusy(runs: readonly { load: Load }[]): boolean {
  return othersOf(runs) > MOST_OTHERS;
}

/**
 * Sums up the runs of every program, in the order in which they first ran.
 *
 * @param runs All runs.
 * @param reference The program that the others are compared with.
 * @param limitsOf What the ratios of a program must be; the keys are what is compared.
 */
export function summarize(
  runs: readonly Run[],
  reference: string,
  limitsOf: (method: string, program: string) => Limits,
): Summary[] {
  const groups = Map.groupBy(runs, (run) => `${run.method} ${run.channels} ${run.program}`);
  return [...groups.values()].map((mine) => {
    const { method, channels, program } = mine[0]!;
    const others = runs.filter((run) =>
      run.method === method && run.channels === channels && run.program === reference
    );
    const isCompared = program !== reference && others.length > 0;
    const noise = noiseOf(others, program === reference ? [] : mine);
    const limits = isCompared ? limitsOf(method, program) : {};
    const ratios: Summary["ratios"] = {};
    for (const [name, limit] of Object.entries(limits) as [Comparison, Limit][]) {
      const spread = spreadOf(mine.map((run, i) => COMPARISONS[name](run, others[i]!)));
      const verdict = verdictOf(spread.median, limit);
      // bytes do not depend on who else computes
      const isNoisy = noise !== undefined && verdict !== "none" && name !== "bytes";
      ratios[name] = { ...spread, ...limit, verdict: isNoisy ? "too noisy" : verdict };
    }
    const { sent, received } = mine[0]! as Record<"sent" | "received", { engine?: string }>;
    return {
      method,
      channels,
      program,
      engine: received.engine ?? sent.engine,
      time: spreadOf(mine.map((run) => run.time)),
      sendCpu: spreadOf(mine.map((run) => run.sendCpu)),
      receiveCpu: spreadOf(mine.map((run) => run.receiveCpu)),
      bytes: spreadOf(mine.map((run) => run.bytes)),
      ratios,
      noise,
    };
  });
}

/** A ratio with its range: `0.85 (0.81..0.90)`. */
export function rangedRatio(ratio: Ratio | undefined): string {
  return ratio === undefined ? "" : `${ratio.median.toFixed(2)} (${rangeText(ratio, 2)})`;
}

/** A ratio as a table shows it: `0.85 (0.81..0.90) <=0.9 met`. */
export function ratioText(ratio: Ratio | undefined): string {
  if (ratio === undefined) return "";
  const { verdict } = ratio;
  const text = rangedRatio(ratio);
  return verdict === "none" ? text : `${text} ${limitText(ratio)} ${verdict}`;
}

/** A limit as a table shows it; empty where there is none. */
export function limitText({ atMost, atLeast }: Limit): string {
  if (atMost !== undefined && atLeast !== undefined) return `${atLeast}..${atMost}`;
  if (atMost !== undefined) return `<=${atMost}`;
  return atLeast === undefined ? "" : `>=${atLeast}`;
}
