/** The advice in a sentence, and its figures for people. */
import type { Candidate } from "./candidates.ts";
import { isDeviceName } from "./devices.ts";
import type { Plan, Question } from "./recommend.ts";

/** A candidate's name: `zstd 1`, `qpl on iaa`; of software engines the best is meant. */
export function titleOf({ method, level, engine, dense }: Candidate): string {
  const where = isDeviceName(engine) ? ` on ${engine}` : "";
  return `${method}${level === undefined ? "" : ` ${level}`}${dense ? " dense" : ""}${where}`;
}

/** Without those that differ from a better plan in their engine alone. */
export function withoutSlowerEngines(plans: readonly Plan[]): Plan[] {
  const titles = plans.map(({ candidate }) => titleOf(candidate));
  return plans.filter((_, i) => titles.indexOf(titles[i]!) === i);
}

/** Milliseconds: `140 ms`, `4.2 s`, `3 min 20 s`; `never` for what does not end. */
export function durationText(milliseconds: number | undefined): string {
  if (milliseconds === undefined) return "never";
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 60) return `${Number(seconds.toFixed(1))} s`;
  const whole = Math.round(seconds);
  const rest = whole % 60 === 0 ? "" : ` ${whole % 60} s`;
  return whole < 3600
    ? `${Math.floor(whole / 60)} min${rest}`
    : `${Math.floor(whole / 3600)} h ${Math.floor(whole % 3600 / 60)} min`;
}

/** Bits per second: `2.5 Gbit/s`. */
export function linkText(bitsPerSecond: number): string {
  if (bitsPerSecond === Infinity) return "an unlimited link";
  const [value, unit] = bitsPerSecond >= 1e9
    ? [bitsPerSecond / 1e9, "Gbit/s"]
    : [bitsPerSecond / 1e6, "Mbit/s"];
  return `${Number(value.toPrecision(2))} ${unit}`;
}

/** `1 channel`, `2 channels`. */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/**
 * What to do and why.
 *
 * @param plans All plans, the best first.
 * @param question What was asked.
 * @param noneFrom The link from which on compressing does not pay.
 */
export function sentenceOf(
  plans: readonly Plan[],
  { link }: Question,
  noneFrom: number | undefined,
): string {
  const [{ candidate, channels, prediction }] = plans as [Plan];
  const isNone = candidate.method === "none";
  const none = plans.find((plan) => plan.candidate.method === "none")!;
  const runnerUp = plans.find((plan) => plan.candidate.method !== "none");
  const what = `Use ${isNone ? "no compression" : titleOf(candidate)} with ${
    plural(channels, "channel")
  }`;
  const over = `over ${linkText(link.bitsPerSecond)}`;
  const why = `held up by the ${prediction.bottleneck}`.replace("the one", "one");
  if (!prediction.converges) {
    return `No method keeps up with this guest ${over}: ${what.replace("Use", "best is")}, ` +
      `${why}; slow the guest down, allow a longer downtime, or use post-copy.`;
  }
  const time = `${durationText(prediction.totalTime)} ${over}, ${why}`;
  if (!isNone) {
    return `${what}: ${time}; uncompressed it is ${durationText(none.prediction.totalTime)}${
      noneFrom === undefined ? "" : `, and better only from ${linkText(noneFrom)} on`
    }.`;
  }
  const other = runnerUp === undefined
    ? ""
    : `; the best compression, ${titleOf(runnerUp.candidate)} with ${
      plural(runnerUp.channels, "channel")
    }, is ${durationText(runnerUp.prediction.totalTime)}`;
  return `${what}: ${time}${other}${
    noneFrom === undefined || noneFrom === 1e8 ? "" : `, and pays below ${linkText(noneFrom)}`
  }.`;
}
