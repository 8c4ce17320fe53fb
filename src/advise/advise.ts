/** `advise()`: which method, how many channels, and why, from the pages there are. */
import os from "node:os";
import { CancelledError, OptionError } from "../errors.ts";
import { methodByName, methodNames } from "../methods/registry.ts";
import { checkChannels, checkMethod, checkPageSize } from "../migration/options.ts";
import { calibrate } from "./calibrate.ts";
import { type Candidate, candidatesOf, type SenderProgram } from "./candidates.ts";
import type { Profile } from "./codecs.ts";
import { type DeviceOption, rateOf } from "./devices.ts";
import { measureProfile } from "./measure.ts";
import type { Hosts, Link } from "./pass.ts";
import { asQemuPipe, type PipeCosts, TYPICAL } from "./pipe.ts";
import { noneFrom, type Plan, type Question, rankPlans } from "./recommend.ts";
import { type DirtyLoad, DOWNTIME_LIMIT } from "./rounds.ts";
import { takeSample } from "./sample.ts";
import { plural, sentenceOf } from "./sentence.ts";
import { type Settings, settingsOf } from "./settings.ts";
import { openSampled, type SourceKind } from "./sources.ts";

/** What {@linkcode advise} is told. */
export interface AdviseOptions {
  /**
   * Where pages come from: a raw image, a mapped-ram file, a directory (received, a recording, or
   * of any files), or a process, which must be a QEMU.
   */
  source: string | { pid: number };
  /** Whose migration it is. Default `qemu` for a guest that runs, else `multifd`. */
  sender?: SenderProgram | undefined;
  /** Speed of the link in bits per second. Default 10 Gbit/s. */
  link?: number | undefined;
  /** Cores that a migration may use, at the source and at the destination. Default all here. */
  cores?: readonly [source: number, destination: number] | undefined;
  /** Number of channels. Default the best one. */
  channels?: number | undefined;
  /** Bytes of guest RAM. Default the source's. */
  ram?: number | undefined;
  /** Bytes of pages per second that the guest writes. Default 0: it is paused. */
  dirtyRate?: number | undefined;
  /** Bytes of the pages that it writes at all. Default all pages with data. */
  workingSet?: number | undefined;
  /** Longest standstill that is allowed, in milliseconds. Default 300, as in QEMU. */
  downtimeLimit?: number | undefined;
  /** Accelerators of both hosts, by their published rates or given ones. */
  devices?: readonly DeviceOption[] | undefined;
  /** Methods to measure besides `none`. Default all. */
  methods?: readonly string[] | undefined;
  /** Levels to measure, where a method has them. Default 1, 3 and 6. */
  levels?: readonly number[] | undefined;
  /** Bytes to sample. Default 64 MiB. */
  sample?: number | undefined;
  /** Chooses what is sampled: the same pages for the same seed. Default 1. */
  seed?: number | undefined;
  /** Page size in bytes. Default the source's own, else 4096. */
  pageSize?: number | undefined;
  /**
   * How the `multifd` command is called, for small migrations that tell what one costs here
   * besides the codec. Without it those costs are of a typical machine.
   */
  command?: readonly string[] | undefined;
  /** Stops early. */
  signal?: AbortSignal | undefined;
  /** Told what is done next. */
  onProgress?: ((what: string) => void) | undefined;
}

/** What was found. */
export interface Advice {
  /** What was sampled. */
  kind: SourceKind;
  /** What its pages are, and how fast they are compressed here. */
  profile: Profile;
  /** Whose migration it is. */
  sender: SenderProgram;
  /** What it is advised for. */
  question: Question;
  /** What could be chosen. */
  candidates: Candidate[];
  /** The best plan of each candidate, the one to choose first. */
  plans: Plan[];
  /** Bits per second from which on compressing does not pay; undefined if it always does. */
  noneFrom: number | undefined;
  /** What to do, in a sentence. */
  recommendation: string;
  /** The same to paste. */
  settings: Settings;
  /** What was not measured here. */
  notes: string[];
}

const DEFAULT_SAMPLE = 64 * 2 ** 20;
const DEFAULT_LEVELS: readonly number[] = [1, 3, 6];

/**
 * Samples pages, measures every method, level and engine on them, and works out what a
 * migration would take with each.
 *
 * @param options Where pages come from, and between which hosts they are to move.
 * @returns What to choose, and everything it follows from.
 * @throws {OptionError} If an option is out of range.
 * @throws {ImageError} If the source cannot be read.
 * @throws {CancelledError} If `signal` is aborted.
 *
 * @example
 * ```ts no-eval
 * import { advise } from "@multifd/multifd";
 *
 * const advice = await advise({ source: "guest.ram", link: 25e9, cores: [8, 8] });
 * console.log(advice.recommendation);
 * ```
 */
export async function advise(options: AdviseOptions): Promise<Advice> {
  const { signal } = options;
  const sender = checkSender(options);
  const hosts = checkHosts(options.cores);
  const link = checkLink(options.link ?? 10e9);
  const channels = options.channels === undefined ? undefined : checkChannels(options.channels);
  const devices = options.devices ?? [];
  try {
    const { kind, profile } = await profileOf(options);
    const { pipe, notes } = await pipeOf(options, sender);
    const bytes = options.ram ?? profile.bytes;
    const guest = { bytes, pageSize: profile.pageSize, zero: profile.shares.zero };
    const load = loadOf(options, bytes * (1 - guest.zero));
    const question: Question = { guest, pipe, hosts, link, load, channels };
    const candidates = candidatesOf(profile, sender, devices);
    const plans = rankPlans(candidates, question);
    const none = noneFrom(candidates, question);
    return {
      kind,
      profile,
      sender,
      question,
      candidates,
      plans,
      noneFrom: none,
      recommendation: sentenceOf(plans, question, none),
      settings: settingsOf(plans[0]!, sender),
      notes: [...notes, ...notesOf(candidates, devices)],
    };
  } catch (error) {
    if (signal?.aborted) throw new CancelledError("Advice was cancelled", {}, { cause: error });
    throw error;
  }
}

/** A level that nothing has would be left out without a word. */
function checkLevels(methods: readonly string[] | undefined, levels: readonly number[]): void {
  const ranges = (methods ?? methodNames()).flatMap((name) => methodByName(name)!.levels ?? []);
  const foreign = levels.find((level) =>
    !ranges.some(({ min, max }) => min <= level && level <= max)
  );
  // levels are for methods that have some
  if (foreign === undefined || ranges.length === 0) return;
  throw new OptionError(`No method here has level ${foreign}`, { received: foreign });
}

async function profileOf(
  options: AdviseOptions,
): Promise<{ kind: SourceKind; profile: Profile }> {
  const { source, levels = DEFAULT_LEVELS, signal, onProgress } = options;
  const methods = options.methods?.map((name) => checkMethod(name).name);
  checkLevels(methods, levels);
  onProgress?.("reading pages");
  const { kind, pages, pageSize: known, close } = await openSampled(source, signal);
  try {
    const pageSize = checkPageSize(options.pageSize ?? known ?? 4096);
    const sample = takeSample(
      pages,
      pageSize,
      options.sample ?? DEFAULT_SAMPLE,
      options.seed ?? 1,
    );
    return { kind, profile: await measureProfile(sample, { methods, levels, signal, onProgress }) };
  } finally {
    close();
  }
}

/** Advice with typical costs is better than none: the note tells. */
async function pipeOf(
  { command, signal, onProgress }: AdviseOptions,
  sender: SenderProgram,
): Promise<{ pipe: PipeCosts; notes: string[] }> {
  let pipe = TYPICAL;
  let why = "no command was given to try it with";
  if (command !== undefined) {
    try {
      pipe = await calibrate({ command, signal, onProgress });
      why = "";
    } catch (error) {
      if (signal?.aborted) throw error;
      why = (error as Error).message;
    }
  }
  const notes = why === "" ? [] : [`costs besides the codec are a typical machine's: ${why}`];
  if (!pipe.isThreaded) notes.push("all channels share one thread: the shim is not used here");
  if (sender === "multifd") return { pipe, notes };
  notes.push("costs of a QEMU besides the codec are those of one machine, scaled to this one");
  return { pipe: asQemuPipe(pipe), notes };
}

function loadOf(options: AdviseOptions, data: number): DirtyLoad | undefined {
  const { dirtyRate = 0, workingSet = data, downtimeLimit = 1000 * DOWNTIME_LIMIT } = options;
  if (dirtyRate === 0) return undefined;
  const isRight = dirtyRate > 0 && workingSet >= 0 && downtimeLimit > 0;
  if (!isRight) throw new OptionError("Dirty rate, working set or downtime limit is out of range");
  return { bytesPerSecond: dirtyRate, workingSet, downtimeLimit: downtimeLimit / 1000 };
}

/** What multifd sends stands still; a guest that writes is a QEMU's to send. */
function checkSender({ source, sender, dirtyRate = 0 }: AdviseOptions): SenderProgram {
  const isRunning = typeof source !== "string" || dirtyRate > 0;
  if (sender === "multifd" && dirtyRate > 0) {
    throw new OptionError("Guest that writes cannot be sent by multifd: its sender is qemu");
  }
  return sender ?? (isRunning ? "qemu" : "multifd");
}

function checkHosts(cores: AdviseOptions["cores"]): Hosts {
  const here = os.availableParallelism();
  const [sourceCores, destinationCores] = cores ?? [here, here];
  if (sourceCores > 0 && destinationCores > 0) return { sourceCores, destinationCores };
  throw new OptionError("Number of cores is out of range", { expected: "at least 1" });
}

function checkLink(bitsPerSecond: number): Link {
  if (bitsPerSecond > 0) return { bitsPerSecond };
  throw new OptionError("Speed of the link is out of range", { received: bitsPerSecond });
}

function notesOf(candidates: readonly Candidate[], devices: readonly DeviceOption[]): string[] {
  const notes = devices.map(({ name, count, bytesPerSecond }) => {
    const rate = (rateOf(name, devices) / count / 1e9).toFixed(1);
    const origin = bytesPerSecond === undefined ? "published" : "given";
    const what = `${plural(count, "device")} of ${rate} GB/s on each host`;
    return `${name}: ${what}, ${origin}, not measured here`;
  });
  const published = candidates
    .filter(({ engine, origin }) => engine === "QEMU" && origin === "published")
    .map(({ method }) => method);
  if (published.length > 0) {
    notes.push(
      `${published.join(", ")} in QEMU: by published ratios to what was measured here`,
    );
  }
  return notes;
}
