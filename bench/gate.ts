/**
 * The gate of the native path: `multifd send` to `multifd recv`, two processes over loopback,
 * against C programs that do the same work (bench/reference/), in one interleaved run.
 *
 * - `none` against one C thread per channel with the same bytes on the wire: at least 0.8;
 * - `zstd` against N encode and N decode threads joined by memory pipes: at least 0.9.
 *
 * Time is the receiver's, from its first connection to all pages held. A ratio is C's time by
 * ours in the same round; the median over the rounds counts. Every program's result is first
 * compared with the image, in a round that is not timed. Needs make, a C compiler and libzstd.
 *
 * `deno run -A bench/gate.ts [--size 1G] [--runs 9] [--channels 2] [--runtime deno,bun]
 * [--transport T] [--json FILE]`
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { writeDemoImage } from "../src/cli/demo_image.ts";
import { print, table, tell } from "../src/cli/output.ts";

const GATE: Record<string, number> = { none: 0.8, zstd: 0.9 };
const LEVEL = "1";
/** A spread of the C program, by its median, above which the machine was too busy to tell. */
const MOST_SPREAD = 0.5;

/** What the programs print, as far as it is used; raw runs keep all of it. */
interface Figures {
  "total-time": number;
  "cpu-seconds": number;
  engine?: string;
  transport?: string;
}

interface Run {
  round: number;
  method: string;
  program: string;
  sent: Figures;
  received: Figures;
}

interface Program {
  method: string;
  name: string;
  /** Moves the image once, into OUT or the file pc.ram in it. */
  run: (out: string) => Promise<[sent: Figures, received: Figures]>;
}

const { values } = parseArgs({
  options: {
    size: { type: "string", default: "1G" },
    runs: { type: "string", default: "9" },
    channels: { type: "string", default: "2" },
    runtime: { type: "string", default: "deno,bun" },
    transport: { type: "string" },
    json: { type: "string" },
  },
});
const size = parseSize(values.size);
const runs = Number(values.runs);
const here = path.dirname(fileURLToPath(import.meta.url));
const reference = path.join(here, "reference");
const directory = makeDirectory();
const image = path.join(directory, "guest.ram");
const children = new Set<ChildProcess>();
const all: Run[] = [];
process.once("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  fs.rmSync(directory, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

function parseSize(text: string): number {
  const match = /^(\d+)([MG])$/.exec(text);
  if (match === null) throw new Error(`--size ${text} is no size: write 256M or 1G`);
  return Number(match[1]) * 1024 ** (match[2] === "G" ? 3 : 2);
}

/** On tmpfs if the image and what is received fit there, so that no disk is measured. */
function makeDirectory(): string {
  const room = fs.existsSync("/dev/shm") ? fs.statfsSync("/dev/shm") : { bavail: 0, bsize: 0 };
  const isShm = room.bavail * room.bsize > 2.25 * size;
  return fs.mkdtempSync(path.join(isShm ? "/dev/shm" : os.tmpdir(), "multifd-gate-"));
}

/** A process of ours or C's; its figures are the JSON that it prints. */
function start(command: readonly string[]) {
  const child = spawn(command[0]!, command.slice(1), { stdio: ["ignore", "pipe", "pipe"] });
  children.add(child);
  let output = "";
  let messages = "";
  const figures = new Promise<Figures>((resolve, reject) => {
    child.stdout!.on("data", (chunk) => output += chunk);
    child.on("error", reject);
    child.on("close", (code) => {
      children.delete(child);
      if (code === 0) resolve(JSON.parse(output) as Figures);
      else reject(new Error(`${command.join(" ")} failed:\n${messages}`));
    });
  });
  figures.catch(() => {});
  const listening = new Promise<string>((resolve) => {
    child.stderr!.on("data", (chunk) => {
      messages += chunk;
      const match = /^listening on (.*)\n/m.exec(messages);
      if (match !== null) resolve(match[1]!);
    });
  });
  return { figures, listening };
}

/** Starts the receiver, then the sender that it told its address. */
async function move(
  receive: readonly string[],
  send: (address: string) => readonly string[],
): Promise<[Figures, Figures]> {
  const receiver = start(receive);
  const address = await Promise.race([
    receiver.listening,
    receiver.figures.then(() => Promise.reject(new Error("The receiver did not listen"))),
  ]);
  return await Promise.all([start(send(address)).figures, receiver.figures]);
}

function ours(method: string, runtime: string): Program {
  const isDeno = "Deno" in globalThis;
  const bun = path.join(here, "../node_modules/.bin/bun");
  const main = path.join(here, "../src/cli/main.ts");
  const command = runtime === "deno"
    ? [isDeno ? process.execPath : "deno", "run", "-A", main]
    : [isDeno ? bun : process.execPath, main];
  const both = ["--method", method, "--channels", values.channels, "--json", "--quiet"];
  if (values.transport !== undefined) both.push("--transport", values.transport);
  const level = method === "none" ? [] : ["--level", LEVEL];
  return {
    method,
    name: runtime,
    run: (out) =>
      move(
        [...command, "recv", "--listen", "127.0.0.1:0", "--hash", "none", "--out", out, ...both],
        (address) => [...command, "send", image, "--to", address, ...level, ...both],
      ),
  };
}

const cNone: Program = {
  method: "none",
  name: "C",
  run: (out) =>
    move(
      [`${reference}/build/none`, "recv", out, "0", values.channels, String(size)],
      (to) => [`${reference}/build/none`, "send", image, to.split(":")[1]!, values.channels],
    ),
};

const cZstd: Program = {
  method: "zstd",
  name: "C",
  async run(out) {
    const command = [`${reference}/build/zstd_pipeline`, image, values.channels, LEVEL, out];
    const figures = await start(command).figures as Figures & Record<string, number>;
    const of = (side: string) => ({ ...figures, "cpu-seconds": figures[`${side}-cpu-seconds`]! });
    return [of("send"), of("receive")];
  },
};

/**
 * Touches as much memory as a run takes and frees it: where a virtual machine's host has taken
 * free memory back, touching it again costs more than the copy that is measured.
 */
function warmMemory(): void {
  const file = path.join(directory, "warm");
  const chunk = new Uint8Array(16 << 20).fill(1);
  const fd = fs.openSync(file, "w");
  for (let at = 0; at < 1.5 * size; at += chunk.length) {
    fs.writeSync(fd, chunk, 0, chunk.length, at);
  }
  fs.closeSync(fd);
  fs.rmSync(file);
}

async function runOnce({ method, name, run }: Program, round: number): Promise<Run> {
  const out = path.join(directory, "out");
  warmMemory();
  const [sent, received] = await run(out);
  if (round === 0) {
    const file = fs.statSync(out).isDirectory() ? path.join(out, "pc.ram") : out;
    execFileSync("cmp", [image, file], { stdio: "inherit" });
  }
  fs.rmSync(out, { recursive: true });
  return { round, method, program: name, sent, received };
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!;
}

function timesOf(method: string, program: string): number[] {
  return all.filter((run) => run.method === method && run.program === program)
    .map((run) => run.received["total-time"]);
}

function row(method: string, name: string): string[] {
  const mine = all.filter((run) => run.method === method && run.program === name);
  const times = timesOf(method, name);
  const ratios = timesOf(method, "C").map((time, i) => time / times[i]!);
  const { engine, transport } = mine[0]!.received;
  const verdict = median(ratios) >= GATE[method]! ? "met" : "MISSED";
  return [
    `${method} ${name}${engine === undefined ? "" : ` (${engine}, ${transport})`}`,
    `${Math.round(median(times))} ms`,
    `${Math.round(Math.min(...times))}..${Math.round(Math.max(...times))}`,
    String(Math.round(size / 1000 / median(times))),
    median(mine.map((run) => run.sent["cpu-seconds"])).toFixed(2),
    median(mine.map((run) => run.received["cpu-seconds"])).toFixed(2),
    median(ratios).toFixed(2),
    `${Math.min(...ratios).toFixed(2)}..${Math.max(...ratios).toFixed(2)}`,
    name === "C" ? "" : `${verdict} (${GATE[method]})`,
  ];
}

async function measure(): Promise<void> {
  execFileSync("make", ["-s", "-C", reference], { stdio: "inherit" });
  tell(`making ${values.size} of guest RAM in ${directory}`);
  writeDemoImage(image, size);
  const runtimes = values.runtime.split(",");
  const programs = [cNone, ...runtimes.map((name) => ours("none", name)), cZstd];
  programs.push(...runtimes.map((name) => ours("zstd", name)));
  const before = os.loadavg();
  for (let round = 0; round <= runs; round++) {
    tell(round === 0 ? "comparing what arrives with the image" : `round ${round} of ${runs}`);
    for (const program of programs) {
      const run = await runOnce(program, round);
      if (round > 0) all.push(run);
    }
  }
  const after = os.loadavg();
  const cpu = `${os.cpus().length} cores, ${os.cpus()[0]!.model}`;
  const place = path.dirname(directory);
  if (values.json !== undefined) {
    const result = { cpu, place, options: values, "load-average": { before, after }, runs: all };
    fs.writeFileSync(values.json, `${JSON.stringify(result, null, 1)}\n`);
  }
  print(`${values.size} in ${place}, ${values.channels} channels, median of ${runs}, ${cpu}`);
  const head = ["", "median", "min..max", "MB/s", "CPU s send", "CPU s recv", "of C", "", "gate"];
  print(table([head, ...programs.map(({ method, name }) => row(method, name))]));
  print(`load average before ${before[0]!.toFixed(2)}, after ${after[0]!.toFixed(2)}`);
  for (const method of Object.keys(GATE)) {
    const times = timesOf(method, "C");
    const spread = (Math.max(...times) - Math.min(...times)) / median(times);
    if (spread <= MOST_SPREAD) continue;
    print(`too noisy, ${method} does not count: C itself spreads by ${Math.round(spread * 100)}%`);
  }
}

await measure().catch((error: Error) => {
  tell(`gate: ${error.message}`);
  process.exitCode = 1;
});
process.exit();
