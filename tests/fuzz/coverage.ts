/**
 * Fuzzes under Deno's coverage and tells which lines of each parser were reached:
 * `deno task fuzz:coverage [--time 1m] [--seed 1]`. Whatever it is told goes to the fuzzer.
 */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { root } from "../_tools.ts";

/** Everything that reads what others send. */
const PARSERS = [
  "src/protocol/greeting.ts",
  "src/protocol/ram_packet.ts",
  "src/protocol/ram_packet_header.ts",
  "src/protocol/device_state_packet.ts",
  "src/protocol/return_path.ts",
  "src/protocol/main_channel_reader.ts",
  "src/protocol/main_channel_bytes.ts",
  "src/protocol/byte_queue.ts",
  "src/protocol/bytes.ts",
  "src/protocol/configuration.ts",
  "src/protocol/vm_tail.ts",
  "src/protocol/mapped_ram.ts",
  "src/ram/manifest.ts",
  "src/qemu/qmp_message.ts",
  "src/methods/method.ts",
  "src/methods/_pages.ts",
  "src/engines/zstd_frames.ts",
  "src/engines/qz_member.ts",
  "src/engines/builtin/zlib_stream.ts",
  "src/engines/builtin/zstd_stream.ts",
  "src/engines/builtin/pages.ts",
  "src/engines/builtin/gzip_members.ts",
  "src/engines/builtin/inflate.ts",
  "src/channels/identify.ts",
  "src/channels/receiving_channel.ts",
  "src/channels/receiving_channels.ts",
  "src/channels/packet_numbers.ts",
  "src/channels/sync_barrier.ts",
  "src/migration/receiver.ts",
];

interface Lines {
  found: number;
  missed: number[];
}

/** The lines of each file in a report of the lcov form. */
function readLcov(report: string): Map<string, Lines> {
  const files = new Map<string, Lines>();
  let lines: Lines = { found: 0, missed: [] };
  for (const line of report.split("\n")) {
    const [kind, value = ""] = line.split(/:(.*)/);
    if (kind === "SF") files.set(path.relative(root, value), lines = { found: 0, missed: [] });
    if (kind !== "DA") continue;
    const [number, times] = value.split(",").map(Number);
    lines.found++;
    if (times === 0) lines.missed.push(number!);
  }
  return files;
}

/** Line numbers with neighbours joined: `3, 7-9`. */
function ranges(numbers: readonly number[]): string {
  const parts: [number, number][] = [];
  for (const number of numbers) {
    const last = parts.at(-1);
    if (last?.[1] === number - 1) last[1] = number;
    else parts.push([number, number]);
  }
  return parts.map(([from, to]) => from === to ? `${from}` : `${from}-${to}`).join(", ");
}

function run(args: string[], stdout: "inherit" | "pipe"): { status: number | null; said: string } {
  const options = { cwd: root, encoding: "utf8", maxBuffer: 2 ** 28 } as const;
  const stdio: ("inherit" | "pipe")[] = ["inherit", stdout, "inherit"];
  const { status, stdout: said } = spawnSync(process.execPath, args, { ...options, stdio });
  return { status, said };
}

if (!("Deno" in globalThis)) throw new Error("Coverage is V8's: run it with Deno");
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-coverage-"));
try {
  const script = path.join(path.dirname(fileURLToPath(import.meta.url)), "run.ts");
  const fuzzed = run(
    [
      ...["run", "-A", "--no-check", `--coverage=${folder}`],
      ...[script, "--inline", ...process.argv.slice(2)],
    ],
    "inherit",
  );
  const { said } = run(["coverage", "--lcov", "--include=/src/", folder], "pipe");
  const files = readLcov(said);
  console.log("\nlines reached, of those that code is on; and those that were not");
  for (const file of PARSERS) {
    const { found, missed } = files.get(file) ?? { found: 0, missed: [] };
    if (found === 0) throw new Error(`${file} was not loaded: is it where it was?`);
    const share = `${found - missed.length}/${found}`;
    const percent = Math.floor(100 * (found - missed.length) / found);
    console.log(`${file.padEnd(40)} ${share.padStart(8)} ${percent}%  ${ranges(missed)}`);
  }
  process.exitCode = fuzzed.status ?? 1;
} finally {
  fs.rmSync(folder, { recursive: true });
}
