import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setImmediate } from "node:timers/promises";
import { OptionError, VerificationError } from "../errors.ts";
import { cancelledError } from "../migration/lifeline.ts";
import { checkChannels } from "../migration/options.ts";
import { migrateBetweenProcesses } from "../migration/two_processes.ts";
import { methodNames } from "../methods/registry.ts";
import type { Verb } from "./args.ts";
import { demoPages } from "./demo_image.ts";
import { EXIT } from "./exit_code.ts";
import { formatBytes, print, table, tell } from "./output.ts";
import { ownCommand, withSignals } from "./_shared.ts";

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
    const [operand] = options.operands;
    if (operand !== undefined) throw new OptionError(`Argument ${operand} is one too many`);
    const asked = options.list("method");
    const methods = asked.length > 0 ? asked : methodNames();
    const channels = checkChannels(options.number("channels") ?? 2);
    const size = options.number("size") ?? 512 * 1024 * 1024;
    if (size < 4096) throw new OptionError("--size is less than a page");
    const say = (what: string): void => options.flag("quiet") ? undefined : tell(what);
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-demo-"));
    try {
      const image = path.join(directory, "guest.ram");
      say(`making ${formatBytes(size)} of guest RAM from this machine's files, zeros and noise`);
      const runs: DemoRun[] = [];
      await withSignals(async (signal) => {
        await makeImage(image, Math.floor(size / 4096) * 4096, signal);
        for (const method of methods) {
          say(`${method}…`);
          runs.push(await runMethod(method, image, path.join(directory, method), channels, signal));
        }
      });
      if (options.flag("json")) print(JSON.stringify({ status: "completed", channels, runs }));
      else printRuns(runs);
      return EXIT.done;
    } finally {
      fs.rmSync(directory, { recursive: true, force: true });
    }
  },
};

async function makeImage(file: string, size: number, signal: AbortSignal): Promise<void> {
  const fd = fs.openSync(file, "wx");
  try {
    for (const pages of demoPages(size, 1)) {
      fs.writeSync(fd, pages);
      await setImmediate();
      if (signal.aborted) throw cancelledError(signal);
    }
  } finally {
    fs.closeSync(fd);
  }
}

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
  signal: AbortSignal,
): Promise<DemoRun> {
  const { sent, received } = await migrateBetweenProcesses({
    command: ownCommand(),
    image,
    out,
    both: ["--channels", String(channels), "--method", method],
    send: method === "uadk" ? ["--uadk-compress"] : [],
    signal,
  });
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
