/**
 * Against QEMU: `multifd send` to `multifd recv` against QEMU to QEMU, and with a QEMU at one
 * end, all over loopback with the same image, method and number of channels, in one interleaved
 * run of fresh processes.
 *
 * The guest is paused and its RAM is the image; whoever receives, it is a new file on tmpfs. QEMU's
 * time is its own total-time; ours is the receiver's, from its first connection to all pages held,
 * and with a QEMU at the receiving end the sender's. CPU seconds are of both ends, from the first
 * connection (QEMU: from the command `migrate`) to the end, without hashing. What arrives is first
 * compared with the image, in a round that does not count.
 *
 * `deno run -A bench/qemu.ts [--qemu PATH] [--size 1G] [--runs 9] [--channels 1,2]
 * [--method none,zlib,zstd,qpl,qatzip] [--runtime deno,bun] [--image FILE] [--json FILE]`
 *
 * Without `--qemu` it is the one that `deno task build:qemu` builds, which has every method, or the
 * 10.0 that `tests/qemu/fetch.ts` fetches.
 */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { print, table } from "../src/cli/output.ts";
import {
  OurDestination,
  OurSource,
  QemuDestination,
  QemuSource,
  type ReceivingEnd,
  type SendingEnd,
} from "./_ends.ts";
import { describeMachine } from "./_machine.ts";
import { movesTable, noiseNotes } from "./_moves_table.ts";
import { COMMON, parseCount, parseList, parseSize, readOptions, reported } from "./_options.ts";
import { describeImage, Place } from "./_place.ts";
import { type Ends, type Figures, RUNTIMES } from "./_process.ts";
import { BLOCK, findQemu, methodsOf, type QemuProgram } from "./_qemu.ts";
import { runBenchmark, writeReport } from "./_report.ts";
import { interleave, type Move, type Program, type Run } from "./_rounds.ts";
import { spreadOf } from "./_statistics.ts";
import { type Limits, summarize } from "./_summary.ts";

/** The program that the others are compared with. */
const QEMU = "QEMU";

/** What `multifd` at both ends must reach, by method. */
const TARGETS: Record<string, Limits> = {
  none: { whole: {}, wall: { atMost: 0.9 }, cpu: { atMost: 1 }, bytes: { atMost: 1 } },
  zlib: { whole: {}, wall: { atMost: 0.2 }, cpu: { atMost: 0.25 }, bytes: { atMost: 1.05 } },
  zstd: { whole: {}, wall: { atMost: 0.85 }, cpu: { atMost: 0.9 }, bytes: { atMost: 1.02 } },
  qpl: { whole: {}, wall: { atMost: 0.65 }, cpu: { atMost: 0.7 }, bytes: { atMost: 0.95 } },
  qatzip: { whole: {}, wall: { atMost: 0.22 }, cpu: { atMost: 0.25 }, bytes: { atMost: 1.05 } },
};
/** With a QEMU at one end: no slower. */
const MIXED: Limits = { whole: {}, wall: { atMost: 1 }, cpu: {}, bytes: {} };

const values = readOptions({
  ...COMMON,
  channels: { type: "string", default: "1,2" },
  method: { type: "string", default: Object.keys(TARGETS).join(",") },
  qemu: { type: "string" },
});
const size = parseSize(values.size);
const runs = parseCount(values.runs);
const channelCounts = values.channels.split(",").map(parseCount);
const methods = parseList(values.method, Object.keys(TARGETS));
const runtimes = parseList(values.runtime, RUNTIMES);
const place = new Place(5 * size);
const out = place.file("out");
/** The same guest with its device state, as `multifd recv` took it from QEMU. */
const vm = place.file("vm");
/** What hashing costs what it received, by runtime: CPU seconds. */
const hashing = new Map<string, number>();

function requireQemu(): QemuProgram {
  const found = findQemu(values.qemu);
  if (found !== undefined) return found;
  throw new Error("No QEMU: deno task build:qemu builds one, or name one (--qemu)");
}

/** A pair of ends, each a runtime's name or QEMU. */
function pair(from: string, to: string, ends: Ends): Program {
  const { method, channels } = ends;
  return {
    method,
    channels,
    name: from === to ? from : `${from} to ${to}`,
    async run(isCheck) {
      const source = from === QEMU
        ? new QemuSource(qemu, image, ends)
        : new OurSource(from, vm, ends);
      const destination = to === QEMU
        ? new QemuDestination(qemu, size, out, ends)
        : new OurDestination(to, out, ends, isCheck ? "sha256" : "none");
      const result = await migrate(source, destination, from === QEMU);
      if (isCheck) {
        execFileSync("cmp", [image, path.join(out, BLOCK)], { stdio: "inherit" });
        const { "finish-cpu-seconds": hashed } = result.received as Figures;
        if (hashed !== undefined) hashing.set(to, hashed);
      }
      fs.rmSync(out, { recursive: true });
      return result;
    },
  };
}

async function migrate(
  source: SendingEnd,
  destination: ReceivingEnd,
  isQemu: boolean,
): Promise<Move> {
  try {
    await source.prepare();
    const address = await destination.listen();
    place.warm(1.5 * size);
    const [sent, received] = await Promise.all([source.send(address), destination.received()]);
    // a destination of ours knows best when it held every page; QEMU has its own total-time
    const { time } = isQemu || received.time === undefined ? sent : received;
    return {
      time: time!,
      wholeTime: sent.wholeTime!,
      sendCpu: sent.cpu,
      receiveCpu: received.cpu,
      bytes: sent.bytes!,
      sent: sent.said,
      received: received.said,
    };
  } finally {
    await Promise.all([source.close(), destination.close()]);
  }
}

/** Makes what ours sends: the image with QEMU's other blocks and its device state. */
async function saveGuest(): Promise<void> {
  const ends = { method: "none", channels: 2 };
  const destination = new OurDestination(runtimes[0]!, vm, ends, "none");
  await migrate(new QemuSource(qemu, image, ends), destination, true);
  const file = path.join(vm, BLOCK);
  execFileSync("cmp", [image, file], { stdio: "inherit" });
  // what was received has holes for zero pages, which are faster to read than QEMU's memory
  fs.rmSync(file);
  fs.symlinkSync(path.resolve(image), file);
}

/** What is measured; where QEMU does not know the method, ours alone. */
function programsOf(ends: Ends, isKnown: boolean): Program[] {
  const atBothEnds = runtimes.map((runtime) => pair(runtime, runtime, ends));
  if (!isKnown) return atBothEnds;
  const atOneEnd = runtimes.flatMap((runtime) => [
    pair(QEMU, runtime, ends),
    pair(runtime, QEMU, ends),
  ]);
  return [pair(QEMU, QEMU, ends), ...atBothEnds, ...atOneEnd];
}

/** CPU that is no migration's: the runtimes' start-up, and hashing. */
function costNotes(runs: readonly Run[]): string[] {
  return runtimes.map((runtime) => {
    const mine = runs.filter(({ program }) => program === runtime);
    const startUp = (side: "sent" | "received"): string =>
      spreadOf(mine.map((run) => (run[side] as Figures)["start-up-cpu-seconds"]!))
        .median.toFixed(2);
    return `${runtime}, left out: start-up ${startUp("sent")} CPU s sending, ${
      startUp("received")
    } receiving; hashing ${hashing.get(runtime)!.toFixed(2)}`;
  });
}

const qemu = requireQemu();
const image = place.image(size, values.image);

await runBenchmark("qemu", async () => {
  const known = await methodsOf(qemu, methods);
  await saveGuest();
  const programs = methods.flatMap((method) =>
    channelCounts.flatMap((channels) => programsOf({ method, channels }, known.includes(method)))
  );
  const all = await interleave(programs, runs);
  const limitsOf = (method: string, program: string): Limits =>
    program.includes(QEMU) ? MIXED : TARGETS[method]!;
  const summaries = summarize(all, QEMU, limitsOf);
  const machine = describeMachine();
  machine.versions[QEMU] = qemu.version;
  const notes = [
    ...methods.filter((method) => !known.includes(method))
      .map((method) => `${method}: QEMU here has no ${method}`),
    ...noiseNotes(all, summaries),
    ...costNotes(all),
    ...place.notes,
  ];
  writeReport(values.json, {
    suite: "qemu",
    machine,
    image: describeImage(image),
    options: reported(values),
    notes,
    summaries,
    runs: all,
  });
  print(
    `${values.size} in ${place.directory}, median of ${runs}, QEMU ${qemu.version}, ` +
      `${machine.cores} cores of ${machine.cpu}, ratios to QEMU to QEMU`,
  );
  const ratios = { wall: "wall", whole: "wall to SHUT", cpu: "CPU", bytes: "bytes" };
  print(table(movesTable(summaries, size, ratios)));
  notes.forEach(print);
});
