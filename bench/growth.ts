/**
 * How time and memory grow: with the image, with the channels; how long a start takes; and
 * whether a rate limit holds.
 *
 * The large image is the small one many times over, as that many RAM blocks of one file: its
 * data is read, sent and written in full, but the source's memory is that of the small one.
 * Memory is the most that a process had resident.
 *
 * `deno run -A bench/growth.ts [--size 1G] [--large 16G] [--channels 2,16] [--runs 9]
 * [--rate 100M] [--method none,zstd] [--runtime deno,bun] [--image FILE] [--json FILE]`
 */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { MOST_THREADS } from "../src/channels/channel_workers.ts";
import { print, tell } from "../src/cli/output.ts";
import { methodNames } from "../src/methods/registry.ts";
import { blockFileName } from "../src/ram/block_file_name.ts";
import { timeToFirstPage, timeToListen } from "./_first_page.ts";
import { growthChecks, type GrowthRun, type RateRun, type Start } from "./_growth_checks.ts";
import { withLoad } from "./_load.ts";
import { describeMachine } from "./_machine.ts";
import { peakResident, watchResident } from "./_memory.ts";
import { COMMON, parseCount, parseList, parseSize, readOptions, reported } from "./_options.ts";
import { describeImage, Place } from "./_place.ts";
import { move, multifd, recvCommand, RUNTIMES, sendCommand, start } from "./_process.ts";
import { printChecks, runBenchmark, writeReport } from "./_report.ts";

const values = readOptions({
  ...COMMON,
  large: { type: "string", default: "16G" },
  channels: { type: "string", default: "2,16" },
  rate: { type: "string", default: "100M" },
  method: { type: "string", default: "none,zstd" },
});
const size = parseSize(values.size);
const large = parseSize(values.large);
const runs = parseCount(values.runs);
const [few, many] = values.channels.split(",").map(parseCount) as [number, number];
const methods = parseList(values.method, methodNames());
const runtimes = parseList(values.runtime, RUNTIMES);
const place = new Place(size + writtenOf(large));
const out = place.file("out");

/** A migration to measure. */
interface Case {
  runtime: string;
  method: string;
  channels: number;
  bytes: number;
}

function cases(): Case[] {
  return methods.flatMap((method) =>
    runtimes.flatMap((runtime) => [
      { runtime, method, channels: few, bytes: size },
      { runtime, method, channels: many, bytes: size },
      { runtime, method, channels: few, bytes: large },
    ])
  );
}

/** Bytes that a migration writes, and some more: three of ten pages are zero. */
function writtenOf(bytes: number): number {
  return 0.75 * (bytes + size);
}

/** The blocks of an image that is the small one so many times. */
function blockNames(bytes: number): string[] {
  return Array.from({ length: bytes / size }, (_, i) => `ram${i}`);
}

/** @param isCheck Whether what arrives is compared with the image. */
async function migrate(one: Case, round: number, isCheck: boolean): Promise<GrowthRun> {
  const { runtime, bytes } = one;
  const names = blockNames(bytes);
  const images = names.map((name) => `${name}=${image}`);
  const [measured, load] = await withLoad(async () => {
    const receiver = start(recvCommand(runtime, out, one));
    const to = await receiver.listening;
    place.warm(writtenOf(bytes));
    const sender = start(sendCommand(runtime, images, to, one));
    const peaks = [sender, receiver].map(({ child }) => watchResident(child.pid!));
    const [, received] = await Promise.all([sender.figures, receiver.figures]);
    const [sending, receiving] = await Promise.all(peaks);
    return {
      time: received["total-time"],
      sendPeak: sending!.peak,
      receivePeak: receiving!.peak,
      receiveHalfway: receiving!.halfway,
    };
  });
  if (isCheck) {
    for (const [i, name] of names.entries()) {
      const file = path.join(out, blockFileName(name, i));
      execFileSync("cmp", [image, file], { stdio: "inherit" });
    }
  }
  fs.rmSync(out, { recursive: true });
  return { ...one, round, ...measured, load };
}

async function migrateLimited(runtime: string, method: string, round: number): Promise<RateRun> {
  const ends = { method, channels: few, maxBandwidth: values.rate };
  const send = (to: string): string[] => sendCommand(runtime, [image], to, ends);
  const [[sent], load] = await withLoad(() =>
    move(recvCommand(runtime, out, ends), send, () => {})
  );
  fs.rmSync(out, { recursive: true });
  const { transferred } = sent.ram;
  const limit = parseSize(values.rate);
  return { runtime, method, round, limit, bytes: transferred!, time: sent["total-time"], load };
}

async function measureRates(): Promise<RateRun[]> {
  const rates: RateRun[] = [];
  for (let round = 1; round <= runs; round++) {
    tell(`rate limit, round ${round} of ${runs}`);
    for (const method of methods) {
      for (const runtime of runtimes) rates.push(await migrateLimited(runtime, method, round));
    }
  }
  return rates;
}

/** What a runtime's idle workers take, in bytes. */
async function idleWorkers(runtime: string, count: number): Promise<number> {
  const script = path.join(path.dirname(fileURLToPath(import.meta.url)), "_idle_workers.ts");
  const running = start([...multifd(runtime).slice(0, -1), script, String(count)]);
  await running.listening;
  const peak = peakResident(running.child.pid!)!;
  running.child.kill("SIGKILL");
  await running.figures.catch(() => {});
  return peak;
}

async function measureStarts(): Promise<Start[]> {
  const starts: Start[] = [];
  for (let round = 0; round <= runs; round++) {
    for (const runtime of runtimes) {
      const [times, load] = await withLoad(async () => ({
        firstPage: await timeToFirstPage(runtime, image),
        listening: await timeToListen(runtime, out),
      }));
      // the first start fills the runtime's cache
      if (round > 0) starts.push({ runtime, round, ...times, load });
    }
  }
  return starts;
}

/** What a runtime's own workers take for each channel more, in bytes. */
async function measureWorkers(): Promise<Map<string, number>> {
  const workers = new Map<string, number>();
  for (const runtime of runtimes) {
    const least = await idleWorkers(runtime, Math.min(few, MOST_THREADS));
    const most = await idleWorkers(runtime, Math.min(many, MOST_THREADS));
    workers.set(runtime, (most - least) / (many - few));
  }
  return workers;
}

const image = place.image(size, values.image);

await runBenchmark("growth", async () => {
  if (!(few < many)) throw new Error("--channels is FEW,MANY");
  if (large <= size || large % size !== 0) throw new Error("--large is no multiple of --size");
  const migrations: GrowthRun[] = [];
  const starts = await measureStarts();
  const workers = await measureWorkers();
  for (let round = 0; round <= runs; round++) {
    tell(round === 0 ? "comparing what arrives with the image" : `round ${round} of ${runs}`);
    for (const one of cases()) {
      const run = await migrate(one, round, round === 0);
      if (round > 0) migrations.push(run);
    }
  }
  const rates = await measureRates();
  const measured = { migrations, rates, starts, workers, size, large, few, many };
  const checks = growthChecks(measured);
  const machine = describeMachine();
  const notes = [
    `${values.large} are ${large / size} RAM blocks of one file of ${values.size}`,
    ...place.notes,
  ];
  writeReport(values.json, {
    suite: "growth",
    machine,
    image: describeImage(image),
    options: reported(values),
    notes,
    checks,
    runs: [...starts, ...migrations, ...rates],
  });
  print(`median of ${runs}, ${machine.cores} cores of ${machine.cpu}`);
  printChecks(checks);
  notes.forEach(print);
});
