import { type ChildProcess, spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { MultifdError, OptionError, VerificationError } from "../errors.ts";
import { checkChannels } from "../migration/options.ts";
import { methodNames } from "../methods/registry.ts";
import type { Verb } from "./args.ts";
import { writeDemoImage } from "./demo_image.ts";
import { EXIT } from "./exit_code.ts";
import { formatBytes, print, table, tell } from "./output.ts";
import { ownCommand } from "./_shared.ts";

const COMPARE_PIECE = 4 * 1024 * 1024;

/** A method's run, in the names of the JSON. */
interface DemoRun {
  method: string;
  engine: string;
  transport: string;
  "total-time": number;
  /** MB of guest RAM per second. */
  "mb-per-second": number;
  transferred: number;
  /** Guest RAM to bytes sent. */
  ratio: number;
  "send-cpu-seconds": number;
  "receive-cpu-seconds": number;
  identical: true;
}

/** The figures of `send --json` and `recv --json` that are shown. */
interface Figures {
  engine: string;
  transport: string;
  "total-time": number;
  "cpu-seconds": number;
  ram: { total: number; transferred: number };
}

/** `multifd demo`. */
export const demo: Verb = {
  name: "demo",
  summary: "Moves an image of this machine's own data between two processes with each method.",
  usage: "[options]",
  options: {
    size: { kind: "size", value: "SIZE", help: "size of the image (default 512M)" },
    channels: { kind: "number", value: "N", help: "number of channels (default 2)" },
    method: { kind: "list", value: "M,...", choices: methodNames(), help: "methods (default all)" },
  },
  examples: [
    ["multifd demo", "all six methods"],
    ["multifd demo --size 1G --channels 4 --method zstd,qpl", "two of them, on more channels"],
  ],
  async run(options) {
    const asked = options.list("method");
    const methods = asked.length > 0 ? asked : methodNames();
    const channels = checkChannels(options.number("channels") ?? 2);
    const size = options.number("size") ?? 512 * 1024 * 1024;
    if (size < 4096) throw new OptionError("--size is less than a page");
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-demo-"));
    const onExit = (): void => fs.rmSync(directory, { recursive: true, force: true });
    process.once("exit", onExit);
    try {
      const image = path.join(directory, "guest.ram");
      if (!options.flag("quiet")) {
        tell(`making ${formatBytes(size)} of guest RAM from this machine's files, zeros and noise`);
      }
      writeDemoImage(image, Math.floor(size / 4096) * 4096);
      const runs: DemoRun[] = [];
      for (const method of methods) {
        if (!options.flag("quiet")) tell(`${method}…`);
        runs.push(await runMethod(method, image, path.join(directory, method), channels));
      }
      if (options.flag("json")) print(JSON.stringify({ status: "completed", channels, runs }));
      else printRuns(runs);
      return EXIT.done;
    } finally {
      onExit();
      process.removeListener("exit", onExit);
    }
  },
};

function printRuns(runs: readonly DemoRun[]): void {
  print(table([
    [
      "method",
      "engine",
      "transport",
      "total-time",
      "MB/s of guest RAM",
      "bytes sent",
      "ratio",
      "CPU s send",
      "CPU s recv",
      "",
    ],
    ...runs.map((run) => [
      run.method,
      run.engine,
      run.transport,
      `${run["total-time"]} ms`,
      String(run["mb-per-second"]),
      String(run.transferred),
      run.ratio.toFixed(2),
      run["send-cpu-seconds"].toFixed(2),
      run["receive-cpu-seconds"].toFixed(2),
      "identical",
    ]),
  ]));
  print(`${runs.length} methods verified: every byte of the image arrived`);
}

/** Moves the image once and compares what arrived, byte by byte. */
async function runMethod(
  method: string,
  image: string,
  out: string,
  channels: number,
): Promise<DemoRun> {
  const count = String(channels);
  const receiver = start(
    ["recv", "--out", out, "--channels", count, "--method", method, "--hash", "none", "--json"],
  );
  const address = await Promise.race([listeningOn(receiver), receiver.figures.then(() => "")]);
  const sender = start([
    ...["send", image, "--to", address, "--channels", count, "--method", method, "--json"],
    ...(method === "uadk" ? ["--uadk-compress"] : []),
  ]);
  const [received, sent] = await Promise.all([receiver.figures, sender.figures]);
  compareFiles(image, path.join(out, "pc.ram"));
  fs.rmSync(out, { recursive: true });
  const { total, transferred } = sent.ram;
  return {
    method,
    engine: sent.engine,
    transport: sent.transport,
    "total-time": received["total-time"],
    "mb-per-second": Math.round(total / 1000 / Math.max(1, received["total-time"])),
    transferred,
    ratio: total / transferred,
    "send-cpu-seconds": sent["cpu-seconds"],
    "receive-cpu-seconds": received["cpu-seconds"],
    identical: true,
  };
}

interface Running {
  child: ChildProcess;
  /** What it prints on stdout, once it has ended well. */
  figures: Promise<Figures>;
  /** Told each line of its stderr. */
  onMessage: (line: string) => void;
}

/** Starts this command again, under the same runtime. */
function start(args: string[]): Running {
  const [command, ...before] = ownCommand();
  const child = spawn(command, [...before, ...args, "--quiet"], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  let messages = "";
  const running: Running = {
    child,
    onMessage: () => {},
    figures: new Promise((resolve, reject) => {
      child.stdout!.on("data", (chunk) => output += chunk);
      child.on("error", reject);
      child.on("close", (code) => {
        if (code === 0) resolve(JSON.parse(output) as Figures);
        else reject(new MultifdError(`multifd ${args[0]} failed:\n${messages}`));
      });
    }),
  };
  running.figures.catch(() => {});
  createInterface({ input: child.stderr! }).on("line", (line) => {
    messages += `${line}\n`;
    running.onMessage(line);
  });
  return running;
}

function listeningOn(receiver: Running): Promise<string> {
  return new Promise((resolve) => {
    receiver.onMessage = (line) => {
      const match = /^listening on (.*)$/.exec(line);
      if (match !== null) resolve(match[1]!);
    };
  });
}

function compareFiles(expected: string, actual: string): void {
  const [a, b] = [fs.openSync(expected, "r"), fs.openSync(actual, "r")];
  try {
    const [left, right] = [new Uint8Array(COMPARE_PIECE), new Uint8Array(COMPARE_PIECE)];
    for (let offset = 0;; offset += COMPARE_PIECE) {
      const read = fs.readSync(a, left, 0, COMPARE_PIECE, offset);
      const same = fs.readSync(b, right, 0, COMPARE_PIECE, offset) === read &&
        left.subarray(0, read).every((byte, i) => byte === right[i]);
      if (!same) {
        throw new VerificationError("What arrived is not what was sent", {
          block: "pc.ram",
          offset,
        });
      }
      if (read < COMPARE_PIECE) return;
    }
  } finally {
    fs.closeSync(a);
    fs.closeSync(b);
  }
}
