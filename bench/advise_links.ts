/**
 * Holds the model of `multifd advise` to account: what it predicts of one image, with
 * coefficients of another, against migrations over links that are shaped outside our program.
 *
 * The far host is a network namespace on this machine, the link a veth with tbf, so both hosts
 * share the cores. Coefficients: the costs of the pipe from small migrations over loopback (of
 * QEMU: with QEMUs), the codecs' speed from image A. Tested on image B, of other files and in
 * other shares; of B only a sample's zero pages and ratios are known, as `advise` samples them.
 *
 * `deno run -A bench/advise_links.ts [--size 1G] [--runs 5] [--links 1,2.5,5,10,none]
 * [--channels 1,2,4] [--method none,zlib,zstd,qpl,qatzip] [--senders deno,qemu] [--qemu PATH]
 * [--json FILE]`, as root.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { candidatesOf } from "../src/advise/candidates.ts";
import { calibrate } from "../src/advise/calibrate.ts";
import type { CodecMeasure, Profile } from "../src/advise/codecs.ts";
import { predict, type Prediction } from "../src/advise/model.ts";
import type { CodecCosts } from "../src/advise/pass.ts";
import type { PipeCosts } from "../src/advise/pipe.ts";
import { print, table, tell } from "../src/cli/output.ts";
import { writeDemoImage } from "../src/cli/demo_image.ts";
import { type EndFigures, OurSource, QemuSource, type SendingEnd } from "./_ends.ts";
import { FarHost, TBF_FRAMING } from "./_link.ts";
import { withLoad } from "./_load.ts";
import { describeMachine } from "./_machine.ts";
import { parseCount, parseList, parseSize, readOptions, reported } from "./_options.ts";
import { describeImage, Place } from "./_place.ts";
import {
  type Ends,
  type Figures,
  migrationCpu,
  multifd,
  recvCommand,
  RUNTIMES,
  start,
} from "./_process.ts";
import { profileOf } from "./_profile.ts";
import { BLOCK, destinationArgs, findQemu, methodsOf, Qemu, type QemuProgram } from "./_qemu.ts";
import { measureQemu, type QemuCosts } from "./_qemu_costs.ts";
import { runBenchmark } from "./_report.ts";
import { rangeText, type Spread, spreadOf } from "./_statistics.ts";

/** Predictions are to be this near, and choices this near to the best. */
const NEAR_TIME = 0.15;
const NEAR_BEST = 0.05;
const QEMU = "qemu";
const OUR_METHODS = ["none", "zlib", "zstd", "qpl", "qatzip"];

const values = readOptions({
  size: { type: "string", default: "1G" },
  runs: { type: "string", default: "5" },
  links: { type: "string", default: "1,2.5,5,10,none" },
  channels: { type: "string", default: "1,2,4" },
  method: { type: "string", default: OUR_METHODS.join(",") },
  senders: { type: "string", default: "deno,qemu" },
  qemu: { type: "string" },
  json: { type: "string" },
});
const size = parseSize(values.size);
const runs = parseCount(values.runs);
const channelCounts = values.channels.split(",").map(parseCount);
const methods = parseList(values.method, OUR_METHODS);
const senders = parseList(values.senders, [...RUNTIMES, QEMU]);
const links = values.links.split(",").map((text) =>
  text === "none" ? Infinity : Number(text) * 1e9
);
const place = new Place(5 * size);
const out = place.file("out");
const far = new FarHost();

/** Image B: files that A does not have, and another part of it zero. */
function writeOtherImage(file: string): void {
  const both = place.file("both.ram");
  writeDemoImage(both, 2 * size, 2);
  const [from, to] = [fs.openSync(both, "r"), fs.openSync(file, "w")];
  const piece = new Uint8Array(1 << 20);
  for (let at = 0; at < size; at += piece.length) {
    fs.readSync(from, piece, 0, piece.length, size + at);
    if (at / piece.length % 5 === 0) piece.fill(0);
    fs.writeSync(to, piece);
  }
  fs.closeSync(from);
  fs.closeSync(to);
  fs.rmSync(both);
}

/** What a sender costs: the pipe, and of each method the codec. */
interface SenderCosts {
  pipe: PipeCosts;
  codecs: Record<string, CodecCosts>;
}

const FREE = { thread: 0, cpu: 0 };
const NOTHING: CodecCosts = { left: 1, encode: FREE, decode: FREE };

/** Speed from image A, ratios from image B. */
async function ourCosts(runtime: string, a: Profile, b: Profile): Promise<SenderCosts> {
  const pipe = await calibrate({ command: multifd(runtime) });
  const codecs: SenderCosts["codecs"] = { none: NOTHING };
  for (const method of methods.filter((method) => method !== "none")) {
    const encoder = firstOf(a, method, "encode");
    const encode = encoder.encode!.secondsPerByte;
    const decode = firstOf(a, method, "decode").decode!.secondsPerByte;
    const { left } = firstOf(b, method, "encode");
    codecs[method] = {
      left,
      encode: { thread: encode, cpu: encode },
      decode: { thread: decode, cpu: decode },
    };
  }
  return { pipe, codecs };
}

/** The engine that is chosen by itself: the first that can. */
function firstOf(profile: Profile, method: string, way: "encode" | "decode"): CodecMeasure {
  return profile.codecs.find((codec) => codec.method === method && codec[way] !== undefined)!;
}

function qemusCosts({ pipe, codecs }: QemuCosts, b: Profile): SenderCosts {
  const known: SenderCosts["codecs"] = { none: NOTHING };
  for (const [method, { encode, decode }] of Object.entries(codecs)) {
    // as advise takes it to be
    const { left } = candidatesOf(b, QEMU).find((found) => found.method === method)!.costs;
    known[method] = {
      left,
      encode: { thread: encode, cpu: encode },
      decode: { thread: decode, cpu: decode },
    };
  }
  return { pipe, codecs: known };
}

/** A destination on the far host. */
interface FarEnd {
  listen(): Promise<string>;
  received(): Promise<EndFigures>;
  close(): Promise<void>;
}

/** CPU seconds until all pages are held: what the model predicts. */
function pagesCpu(figures: Figures): number {
  return migrationCpu(figures) - (figures["finish-cpu-seconds"] ?? 0);
}

function ourFarEnd(runtime: string, ends: Ends): FarEnd {
  const receive = [...recvCommand(runtime, out, ends), "--listen", `${far.address}:0`];
  const { child, listening, figures } = start([...far.prefix, ...receive]);
  return {
    listen: () => listening,
    async received() {
      const said = await figures;
      return { time: said["total-time"], cpu: pagesCpu(said), said };
    },
    async close() {
      child.kill();
      await figures.catch(() => {});
    },
  };
}

function qemuFarEnd(program: QemuProgram, ends: Ends): FarEnd {
  const there = { ...program, command: [...far.prefix, ...program.command] };
  // a file in memory, as our destination's: huge pages of memory of its own would cost it more
  fs.mkdirSync(out);
  const qemu = new Qemu(there, destinationArgs(size, path.join(out, BLOCK)));
  let before = 0;
  return {
    async listen() {
      await qemu.configure(ends.method, ends.channels);
      await qemu.execute("migrate-incoming", { uri: `tcp:${far.address}:0` });
      const { "socket-address": [socket] } = await qemu.execute<
        { "socket-address": { port: string }[] }
      >("query-migrate");
      before = qemu.cpuSeconds();
      return `${far.address}:${socket!.port}`;
    },
    async received() {
      const said = await qemu.completed();
      return { cpu: qemu.cpuSeconds() - before, said };
    },
    close: () => qemu.quit(),
  };
}

/** What is measured: one sender, method, number of channels and link. */
interface Case extends Ends {
  sender: string;
  link: number;
  times: number[];
  sendCpu: number[];
  receiveCpu: number[];
  /** Share of the machine that others used. */
  others: number[];
  prediction: Prediction;
}

async function moveOnce(test: Case, image: string): Promise<void> {
  far.shape(test.link);
  const isQemu = test.sender === QEMU;
  const source: SendingEnd = isQemu
    ? new QemuSource(qemu!, image, test)
    : new OurSource(test.sender, image, test);
  const destination = isQemu ? qemuFarEnd(qemu!, test) : ourFarEnd(test.sender, test);
  try {
    await source.prepare();
    const address = await destination.listen();
    place.warm(1.5 * size);
    const [[sent, received], load] = await withLoad(() =>
      Promise.all([source.send(address), destination.received()])
    );
    test.times.push((received.time ?? sent.time)!);
    test.sendCpu.push(isQemu ? sent.cpu : pagesCpu(sent.said as Figures));
    test.receiveCpu.push(received.cpu);
    test.others.push(isQemu ? 0 : load.others);
  } finally {
    await Promise.all([source.close(), destination.close()]);
    fs.rmSync(out, { recursive: true, force: true });
  }
}

function casesOf(costs: ReadonlyMap<string, SenderCosts>, b: Profile): Case[] {
  const cores = os.cpus().length;
  const guest = { bytes: size, pageSize: 4096, zero: b.shares.zero };
  const hosts = { sourceCores: cores, destinationCores: cores, isOneHost: true };
  return [...costs].flatMap(([sender, { pipe, codecs }]) =>
    links.flatMap((link) =>
      channelCounts.flatMap((channels) =>
        Object.entries(codecs).map(([method, codec]): Case => ({
          sender,
          link,
          channels,
          method,
          times: [],
          sendCpu: [],
          receiveCpu: [],
          others: [],
          prediction: predict({
            guest,
            codec,
            pipe,
            hosts,
            channels,
            link: { bitsPerSecond: link, framing: TBF_FRAMING },
          }),
        }))
      )
    )
  );
}

const errorOf = ({ times, prediction }: Case): number =>
  prediction.totalTime! / spreadOf(times).median - 1;
const percent = (share: number): string => `${share > 0 ? "+" : ""}${(share * 100).toFixed(0)} %`;
const linkName = (link: number): string => link === Infinity ? "unshaped" : `${link / 1e9} Gbit/s`;

function rowOf(test: Case): string[] {
  const time: Spread = spreadOf(test.times);
  const { prediction } = test;
  const cpu = (percent: number): string => (percent * prediction.totalTime! / 1e5).toFixed(2);
  const error = errorOf(test);
  return [
    test.sender,
    linkName(test.link),
    String(test.channels),
    test.method,
    `${time.median.toFixed(0)} ms`,
    rangeText(time),
    `${prediction.totalTime!.toFixed(0)} ms`,
    `${percent(error)}${Math.abs(error) > NEAR_TIME ? " MISSED" : ""}`,
    prediction.bottleneck,
    `${spreadOf(test.sendCpu).median.toFixed(2)} (${cpu(prediction.sendCpu)})`,
    `${spreadOf(test.receiveCpu).median.toFixed(2)} (${cpu(prediction.receiveCpu)})`,
  ];
}

/** For each sender, link and number of channels: the method chosen, and how much it loses. */
function choicesOf(cases: readonly Case[]) {
  const groups = Map.groupBy(
    cases,
    ({ sender, link, channels }) => `${sender} ${link} ${channels}`,
  );
  return [...groups.values()].map((group) => {
    const median = ({ times }: Case): number => spreadOf(times).median;
    const least = (figure: (test: Case) => number): Case =>
      group.reduce((best, test) => figure(test) < figure(best) ? test : best);
    const chosen = least(({ prediction }) => prediction.totalTime!);
    const best = least(median);
    const { sender, link, channels } = chosen;
    const loss = median(chosen) / median(best) - 1;
    return { sender, link, channels, chosen: chosen.method, best: best.method, loss };
  });
}

function findAnyQemu(): QemuProgram | undefined {
  const found = findQemu(values.qemu);
  if (found === undefined) tell("no QEMU: deno task build:qemu builds one (--qemu)");
  return found;
}

const qemu = senders.includes(QEMU) ? findAnyQemu() : undefined;

await runBenchmark("advise_links", async () => {
  const imageA = place.image(size, undefined);
  const imageB = place.file("other.ram");
  writeOtherImage(imageB);
  tell("measuring codecs on both images");
  const [a, b] = [await profileOf(imageA), await profileOf(imageB)];
  const costs = new Map<string, SenderCosts>();
  for (const sender of senders) {
    tell(`what ${sender} costs besides the codec`);
    if (sender !== QEMU) costs.set(sender, await ourCosts(sender, a, b));
    else if (qemu !== undefined) {
      const known = await methodsOf(qemu, methods);
      costs.set(sender, qemusCosts(await measureQemu(qemu, place, imageA, size, known), b));
    }
  }
  const cases = casesOf(costs, b);
  for (let round = 1; round <= runs; round++) {
    tell(`round ${round} of ${runs}, ${cases.length} migrations`);
    for (const test of cases) await moveOnce(test, imageB);
  }
  const choices = choicesOf(cases);
  if (values.json !== undefined) {
    const report = {
      suite: "advise_links",
      machine: describeMachine(),
      images: { a: describeImage(imageA), b: describeImage(imageB) },
      options: reported(values),
      profiles: { a, b },
      costs: Object.fromEntries(costs),
      cases: cases.map((test) => ({ ...test, link: linkName(test.link) })),
      choices,
    };
    fs.writeFileSync(path.resolve(values.json), `${JSON.stringify(report, null, 1)}\n`);
  }
  const head = [
    "sender",
    "link",
    "channels",
    "method",
    "measured",
    "min..max",
    "predicted",
    "error",
  ];
  const cpu = ["bottleneck", "send CPU s (pred.)", "recv CPU s (pred.)"];
  print(table([[...head, ...cpu], ...cases.map(rowOf)]));
  print(table([
    ["sender", "link", "channels", "chosen", "best", "loss"],
    ...choices.map(({ sender, link, channels, chosen, best, loss }) => [
      ...[sender, linkName(link), String(channels), chosen, best],
      `${percent(loss)}${loss > NEAR_BEST ? " MISSED" : ""}`,
    ]),
  ]));
  const near = cases.filter((test) => Math.abs(errorOf(test)) <= NEAR_TIME).length;
  const right = choices.filter(({ loss }) => loss <= NEAR_BEST).length;
  const others = spreadOf(cases.flatMap((test) => test.others)).median;
  print(`${near} of ${cases.length} times within ${percent(NEAR_TIME)}`);
  print(`${right} of ${choices.length} choices within ${percent(NEAR_BEST)} of the best`);
  print(`other processes used ${(others * 100).toFixed(1)} % of the machine (without QEMU's runs)`);
});
