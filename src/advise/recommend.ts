/** Which method, on how many channels: the plans that the model finds, best first. */
import type { Candidate } from "./candidates.ts";
import { predict, type Prediction } from "./model.ts";
import type { GuestPages, Hosts, Link } from "./pass.ts";
import type { PipeCosts } from "./pipe.ts";
import type { DirtyLoad } from "./rounds.ts";

/** What is asked. */
export interface Question {
  /** What there is to move. */
  guest: GuestPages;
  /** What it costs besides the codec. */
  pipe: PipeCosts;
  /** From where to where. */
  hosts: Hosts;
  /** Over what. */
  link: Link;
  /** What the guest writes meanwhile; undefined if it is paused. */
  load?: DirtyLoad | undefined;
  /** The number of channels; undefined looks for the best. */
  channels?: number | undefined;
}

/** A candidate on some channels. */
export interface Plan {
  /** The method at its level on its engine. */
  candidate: Candidate;
  /** Number of channels. */
  channels: number;
  /** What it will take. */
  prediction: Prediction;
}

/** Numbers of channels that are looked at. */
export const CHANNELS: readonly number[] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32];
/** What is this close to the best time is as good, and costs decide. */
const AS_GOOD = 1.03;

/** One candidate on so many channels. */
export function planOf(candidate: Candidate, question: Question, channels: number): Plan {
  const scenario = { ...question, codec: candidate.costs, channels };
  return { candidate, channels, prediction: predict(scenario) };
}

/** A candidate on the fewest channels that are as good as any number of them. */
function bestPlan(candidate: Candidate, question: Question): Plan {
  const counts = question.channels === undefined ? CHANNELS : [question.channels];
  const plans = counts.map((channels) => planOf(candidate, question, channels));
  const best = Math.min(...plans.map(costOf));
  return plans.find((plan) => costOf(plan) <= best * AS_GOOD)!;
}

/** What is better is less: time, or for what never ends the time a page takes. */
function costOf({ prediction }: Plan): number {
  return prediction.totalTime ?? NEVER / prediction.pagesPerSecond;
}

/** More than any time: what ends is better than what does not. */
const NEVER = 1e30;

/**
 * Plans for all candidates, best first. Of those that are as good as the fastest, the one with
 * the least CPU comes first.
 */
export function rankPlans(candidates: readonly Candidate[], question: Question): Plan[] {
  const plans = candidates.map((candidate) => bestPlan(candidate, question))
    .sort((a, b) => costOf(a) - costOf(b));
  const best = costOf(plans[0]!);
  const isAsGood = (plan: Plan): boolean => costOf(plan) <= best * AS_GOOD;
  const asGood = plans.filter(isAsGood)
    .sort((a, b) => a.prediction.cpuSeconds - b.prediction.cpuSeconds);
  return [...asGood, ...plans.filter((plan) => !isAsGood(plan))];
}

/** Link speeds that are looked at, in bits per second: 0.1 to 400 Gbit/s. */
export const LINKS: readonly number[] = Array.from(
  { length: 37 },
  (_, i) => 1e8 * 10 ** (i / 10),
).filter((bits) => bits <= 4e11);

/** The slowest of those links on which `none` is the best; undefined if it never is. */
export function noneFrom(candidates: readonly Candidate[], question: Question): number | undefined {
  return LINKS.find((bitsPerSecond) => {
    const link = { ...question.link, bitsPerSecond };
    return rankPlans(candidates, { ...question, link })[0]!.candidate.method === "none";
  });
}
