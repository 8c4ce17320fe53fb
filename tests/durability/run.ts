/**
 * Everything that may happen to a migration from outside, and what became of it, counted:
 * `deno task kill [PART...]`, of which PARTs are kill, signal, disk, wire, image and thread.
 * MOMENTS, SIGNALS, CUTS, STALL_MS and SEED in the environment change how much of it.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { bunPath, runTool, setUp } from "../_tools.ts";
import { countsOf } from "./_outcomes.ts";

interface Part {
  files: string[];
  /** How much of it, unless the environment says. */
  settings?: Record<string, string>;
  /** Whether it starts processes of both runtimes itself. */
  isOfBoth?: boolean;
}

const PARTS: Record<string, Part> = {
  kill: {
    files: ["tests/migration/kill_test.ts"],
    settings: { MOMENTS: "200" },
    isOfBoth: true,
  },
  signal: {
    files: ["tests/migration/signal_test.ts"],
    settings: { SIGNALS: "120" },
    isOfBoth: true,
  },
  disk: {
    files: [
      "tests/durability/faults_test.ts",
      "tests/durability/end_test.ts",
      "tests/migration/full_disk_test.ts",
    ],
    settings: { FAULTS: "all" },
  },
  wire: {
    files: ["tests/migration/cut_test.ts"],
    settings: { CUTS: "180", STALL_MS: "30000" },
  },
  image: { files: ["tests/migration/changing_image_test.ts"] },
  thread: { files: ["tests/migration/killed_worker_test.ts"] },
};

function runPart({ files, settings, isOfBoth }: Part, outcomes: string): boolean {
  const env = { ...settings, ...process.env, OUTCOMES: outcomes } as Record<string, string>;
  const deno = ["test", "-A", "--no-check", ...files];
  const bun = ["test", "--timeout=600000", ...files.map((file) => `./${file}`)];
  const hasPassed = runTool(process.execPath, deno, env);
  if (isOfBoth) return hasPassed;
  return runTool(bunPath()!, bun, { ...env, MULTIFD_TEST_DENO: process.execPath }) && hasPassed;
}

const wanted = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(PARTS);
const unknown = wanted.find((name) => PARTS[name] === undefined);
if (unknown !== undefined) {
  console.error(`kill: ${unknown} is no part; there are: ${Object.keys(PARTS).join(", ")}`);
  process.exit(2);
}
setUp();
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-outcomes-"));
const failed: string[] = [];
const rows: string[] = [];
for (const name of wanted) {
  const outcomes = path.join(folder, name);
  if (!runPart(PARTS[name]!, outcomes)) failed.push(name);
  for (const [fault, ends] of countsOf(outcomes)) {
    const all = [...ends.values()].reduce((sum, times) => sum + times, 0);
    const list = [...ends].map(([end, times]) => `${end}: ${times}`).join("; ");
    rows.push(`| ${fault} | ${all} | ${list} | \`deno task kill ${name}\` |`);
  }
}
fs.rmSync(folder, { recursive: true });
console.log(
  ["| fault | times | outcomes | again |", "| --- | --- | --- | --- |", ...rows].join("\n"),
);
if (failed.length > 0) console.error(`failed: ${failed.join(", ")}`);
process.exitCode = failed.length > 0 ? 1 : 0;
