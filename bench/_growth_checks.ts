/** What growth's raw runs say about its limits. */
import type { Load } from "./_load.ts";
import type { Check } from "./_report.ts";
import { spreadOf } from "./_statistics.ts";
import { isBusy, type Limit, verdictOf } from "./_summary.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** A migration between two processes of one runtime. */
export interface GrowthRun {
  runtime: string;
  method: string;
  channels: number;
  /** Bytes of guest RAM. */
  bytes: number;
  round: number;
  /** From the first connection to all pages held, in milliseconds. */
  time: number;
  /** Most bytes the sender had resident. */
  sendPeak: number;
  /** Most bytes the receiver had resident. */
  receivePeak: number;
  /** The same in the first half of the time. */
  receiveHalfway: number;
  load: Load;
}

/** The starts of both programs. */
export interface Start {
  runtime: string;
  round: number;
  /** From the start of `send` to its first page at the destination, in milliseconds. */
  firstPage: number;
  /** From the start of `recv` until it listens, in milliseconds. */
  listening: number;
  load: Load;
}

/** A migration with a rate limit. */
export interface RateRun {
  runtime: string;
  method: string;
  round: number;
  /** Bytes a second that were allowed. */
  limit: number;
  /** Bytes that were sent. */
  bytes: number;
  /** From the first connection to all pages held, in milliseconds. */
  time: number;
  load: Load;
}

/** All that growth measured. */
export interface Measured {
  migrations: GrowthRun[];
  starts: Start[];
  rates: RateRun[];
  /** Bytes of a runtime's own idle workers for each channel more. */
  workers: Map<string, number>;
  /** Bytes of the images. */
  size: number;
  large: number;
  /** Numbers of channels. */
  few: number;
  many: number;
}

/** The limits. */
const LIMITS = {
  size: { atMost: 1.1 },
  channels: { atMost: 1.15 },
  channelMemory: { atMost: 16 },
  // bookkeeping: a bit a page, a few numbers a packet
  imageMemory: { atMost: 1 },
  rate: { atLeast: 0.98, atMost: 1.02 },
} satisfies Record<string, Limit>;

const FIRST_PAGE: Record<string, Limit> = { deno: { atMost: 150 }, bun: { atMost: 80 } };

function check(
  what: string,
  runs: readonly { runtime: string; method?: string; load: Load }[],
  values: number[],
  unit: string,
  limit: Limit,
): Check {
  const { runtime, method } = runs[0]!;
  const value = spreadOf(values);
  const verdict = verdictOf(value.median, limit);
  // memory does not depend on who else computes
  const isNoisy = verdict !== "none" && unit !== "MiB" && isBusy(runs);
  return {
    what,
    runtime,
    method,
    unit,
    value,
    ...limit,
    verdict: isNoisy ? "too noisy" : verdict,
  };
}

/** One runtime's and method's runs, by what differs. */
function casesOf(runs: readonly GrowthRun[], { few, many, size, large }: Measured) {
  const of = (channels: number, bytes: number): GrowthRun[] =>
    runs.filter((run) => run.channels === channels && run.bytes === bytes);
  return { base: of(few, size), manyChannels: of(many, size), largeImage: of(few, large) };
}

function timeChecks(runs: readonly GrowthRun[], measured: Measured): Check[] {
  const { base, manyChannels, largeImage } = casesOf(runs, measured);
  const perByte = (run: GrowthRun): number => run.time / run.bytes;
  const bySize = largeImage.map((run, i) => perByte(run) / perByte(base[i]!));
  const byChannels = manyChannels.map((run, i) => run.time / base[i]!.time);
  const sizes = `${measured.large / GIB} GiB against ${measured.size / GIB} GiB`;
  const channels = `${measured.many} channels against ${measured.few}`;
  return [
    check(`time per GiB, ${sizes}`, [...largeImage, ...base], bySize, "x", LIMITS.size),
    check(`time, ${channels}`, [...manyChannels, ...base], byChannels, "x", LIMITS.channels),
  ];
}

function memoryChecks(runs: readonly GrowthRun[], measured: Measured): Check[] {
  const { base, manyChannels, largeImage } = casesOf(runs, measured);
  const { few, many, size, large } = measured;
  const worker = measured.workers.get(base[0]!.runtime)!;
  const perChannel = (peak: "sendPeak" | "receivePeak"): number[] =>
    manyChannels.map((run, i) => ((run[peak] - base[i]![peak]) / (many - few) - worker) / MIB);
  const perGib = largeImage.map((run, i) =>
    (run.receivePeak - base[i]!.receivePeak) / MIB / ((large - size) / GIB)
  );
  // a runtime's own heap grows until its collector finds its size, in the first seconds
  const perLaterGib = largeImage.map((run) =>
    (run.receivePeak - run.receiveHalfway) / MIB / (large / 2 / GIB)
  );
  const above = "a channel above the runtime's own workers";
  const { channelMemory, imageMemory } = LIMITS;
  return [
    check(`sender, ${above}`, manyChannels, perChannel("sendPeak"), "MiB", channelMemory),
    check(`receiver, ${above}`, manyChannels, perChannel("receivePeak"), "MiB", channelMemory),
    check("receiver, a GiB more of image", largeImage, perGib, "MiB", imageMemory),
    check("receiver, a GiB of the second half", largeImage, perLaterGib, "MiB", imageMemory),
  ];
}

function startChecks(starts: readonly Start[], worker: number): Check[] {
  const { runtime } = starts[0]!;
  const pages = starts.map((start) => start.firstPage);
  const listens = starts.map((start) => start.listening);
  return [
    check("send, start to first page", starts, pages, "ms", FIRST_PAGE[runtime] ?? {}),
    check("recv, start to listening", starts, listens, "ms", {}),
    check("the runtime's own workers, a channel", starts, [worker / MIB], "MiB", {}),
  ];
}

function rateCheck(runs: readonly RateRun[]): Check {
  const shares = runs.map(({ bytes, time, limit }) => bytes * 1000 / time / limit);
  const what = `rate, of a limit of ${runs[0]!.limit / MIB} MiB/s`;
  return check(what, runs, shares, "x", LIMITS.rate);
}

/** Everything that growth checks, runtime by runtime. */
export function growthChecks(measured: Measured): Check[] {
  const byCase = <T extends { runtime: string; method: string }>(runs: readonly T[]): T[][] => [
    ...Map.groupBy(runs, ({ runtime, method }) => `${method} ${runtime}`).values(),
  ];
  const starts = Map.groupBy(measured.starts, ({ runtime }) => runtime);
  return [
    ...byCase(measured.migrations).flatMap((runs) => [
      ...timeChecks(runs, measured),
      ...memoryChecks(runs, measured),
    ]),
    ...byCase(measured.rates).map(rateCheck),
    ...[...starts].flatMap(([runtime, mine]) => startChecks(mine, measured.workers.get(runtime)!)),
  ];
}
