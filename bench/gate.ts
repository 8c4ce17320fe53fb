/**
 * The gate of the native path: `multifd send` to `multifd recv`, two processes over loopback,
 * against C programs that do the same work (bench/reference/), in one interleaved run.
 *
 * - `none` against one C thread per channel with the same bytes on the wire: at least 0.9;
 * - `zstd` against N encode and N decode threads joined by memory pipes: at least 0.95.
 *
 * Time is the receiver's, from its first connection to all pages held. A ratio is C's time by
 * ours in the same round; the median over the rounds counts. Every program's result is first
 * compared with the image, in a round that is not timed. Needs make, a C compiler and libzstd.
 *
 * `deno run -A bench/gate.ts [--size 1G] [--runs 9] [--channels 2] [--runtime deno,bun]
 * [--transport T] [--image FILE] [--json FILE]`
 */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { print, table } from "../src/cli/output.ts";
import { describeMachine } from "./_machine.ts";
import { movesTable, noiseNotes } from "./_moves_table.ts";
import { COMMON, parseCount, parseList, parseSize, readOptions, reported } from "./_options.ts";
import { describeImage, Place } from "./_place.ts";
import {
  type Figures,
  migrationCpu,
  move,
  recvCommand,
  RUNTIMES,
  sendCommand,
  start,
  wholeTime,
} from "./_process.ts";
import { runBenchmark, writeReport } from "./_report.ts";
import { interleave, type Move, type Program } from "./_rounds.ts";
import { type Limits, summarize } from "./_summary.ts";

const GATE: Record<string, Limits> = {
  none: { speed: { atLeast: 0.9 }, cpu: {} },
  zstd: { speed: { atLeast: 0.95 }, cpu: {} },
};
const LEVEL = "1";

const values = readOptions({ ...COMMON, transport: { type: "string" } });
const size = parseSize(values.size);
const runs = parseCount(values.runs);
const channelCounts = values.channels.split(",").map(parseCount);
const runtimes = parseList(values.runtime, RUNTIMES);
const reference = path.join(path.dirname(fileURLToPath(import.meta.url)), "reference");
const place = new Place(2.5 * size);
const out = place.file("out");

function moveOf([sent, received]: [Figures, Figures]): Move {
  return {
    time: received["total-time"],
    wholeTime: wholeTime(received),
    sendCpu: migrationCpu(sent),
    receiveCpu: migrationCpu(received),
    bytes: received.ram["multifd-bytes"],
    sent,
    received,
  };
}

/** A program that fills OUT or the file pc.ram in it. */
function program(
  method: string,
  channels: number,
  name: string,
  run: () => Promise<[Figures, Figures]>,
): Program {
  return {
    method,
    channels,
    name,
    async run(isCheck) {
      const result = moveOf(await run());
      const file = fs.statSync(out).isDirectory() ? path.join(out, "pc.ram") : out;
      if (isCheck) execFileSync("cmp", [image, file], { stdio: "inherit" });
      fs.rmSync(out, { recursive: true });
      return result;
    },
  };
}

const warm = (): void => place.warm(1.5 * size);

function ours(method: string, channels: number, runtime: string): Program {
  const ends = { method, channels, transport: values.transport };
  const receive = recvCommand(runtime, out, ends);
  const send = (to: string) => sendCommand(runtime, [image], to, ends);
  return program(method, channels, runtime, () => move(receive, send, warm));
}

function cNone(channels: number): Program {
  const command = `${reference}/build/none`;
  const receive = [command, "recv", out, "0", String(channels), String(size)];
  const send = (to: string) => [command, "send", image, to.split(":")[1]!, String(channels)];
  return program("none", channels, "C", () => move(receive, send, warm));
}

function cZstd(channels: number): Program {
  const command = [`${reference}/build/zstd_pipeline`, image, String(channels), LEVEL, out];
  return program("zstd", channels, "C", async () => {
    warm();
    const figures = await start(command).figures as Figures & Record<string, number>;
    const of = (side: string) => ({ ...figures, "cpu-seconds": figures[`${side}-cpu-seconds`]! });
    return [of("send"), of("receive")];
  });
}

execFileSync("make", ["-s", "-C", reference], { stdio: "inherit" });
const image = place.image(size, values.image);

await runBenchmark("gate", async () => {
  const programs = channelCounts.flatMap((channels) => [
    cNone(channels),
    ...runtimes.map((runtime) => ours("none", channels, runtime)),
    cZstd(channels),
    ...runtimes.map((runtime) => ours("zstd", channels, runtime)),
  ]);
  const all = await interleave(programs, runs);
  const summaries = summarize(all, "C", (method) => GATE[method]!);
  const machine = describeMachine();
  const notes = [...noiseNotes(all, summaries), ...place.notes];
  writeReport(values.json, {
    suite: "gate",
    machine,
    image: describeImage(image),
    options: reported(values),
    notes,
    summaries,
    runs: all,
  });
  print(
    `${values.size} in ${place.directory}, median of ${runs}, ${machine.cores} cores of ${machine.cpu}, CPU seconds without start-up, ratios to C`,
  );
  print(table(movesTable(summaries, size, { speed: "of C", cpu: "CPU" })));
  notes.forEach(print);
});
