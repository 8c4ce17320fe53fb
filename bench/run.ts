/**
 * All benchmarks on one image: `deno task bench [--only micro,commands,gate,qemu,growth] [options]`.
 *
 * - micro: methods, engines and steps by themselves (bench/methods.ts);
 * - commands: whole commands, by hyperfine, where it is installed (bench/commands.ts);
 * - gate: against C programs that do the same (bench/gate.ts);
 * - qemu: against QEMU, where there is one (bench/qemu.ts);
 * - growth: with the image, with the channels; the start; the rate limit (bench/growth.ts).
 *
 * Options: `--size 1G --large 16G --rate 100M --runs 9 --channels 1,2 --runtime deno,bun --qemu
 * PATH`, and `--out bench/results`, the directory that gets `bench.json` (machine, versions, image
 * hash, every run) and `bench.html` (tables and plots in one file). `--page bench.json` only makes
 * the page anew.
 */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { print, tell } from "../src/cli/output.ts";
import { COMMON, parseList, parseSize, readOptions } from "./_options.ts";
import { renderPage, type Results } from "./_page.ts";
import { Place } from "./_place.ts";
import { findQemu } from "./_qemu.ts";
import { type Report, runBenchmark } from "./_report.ts";

const here = path.dirname(fileURLToPath(import.meta.url));

/** The benchmarks, with the options that each takes from here. */
const SUITES: Record<string, { script: string; takes: readonly string[] }> = {
  micro: { script: "methods.ts", takes: [] },
  commands: { script: "commands.ts", takes: ["runs", "runtime"] },
  gate: { script: "gate.ts", takes: ["size", "runs", "channels", "runtime", "image"] },
  qemu: { script: "qemu.ts", takes: ["size", "runs", "channels", "runtime", "image", "qemu"] },
  growth: { script: "growth.ts", takes: ["size", "large", "rate", "runs", "runtime", "image"] },
};

const values = readOptions({
  size: COMMON.size,
  runs: COMMON.runs,
  runtime: COMMON.runtime,
  channels: { type: "string", default: "1,2" },
  large: { type: "string", default: "16G" },
  rate: { type: "string", default: "100M" },
  qemu: { type: "string" },
  only: { type: "string", default: Object.keys(SUITES).join(",") },
  out: { type: "string", default: path.join(here, "results") },
  page: { type: "string" },
});

/** What a benchmark needs and is not here. */
function missingFor(name: string): string | undefined {
  if (name === "qemu" && findQemu(values.qemu) === undefined) {
    return "no QEMU, fetch one with deno run -A tests/qemu/fetch.ts";
  }
  if (name === "commands" && spawnSync("hyperfine", ["--version"]).error !== undefined) {
    return "no hyperfine (Debian: apt-get install hyperfine)";
  }
  return undefined;
}

/** Runs a benchmark in a process of its own; undefined if it fails. */
function runSuite(name: string, image: string, json: string): Report | undefined {
  const { script, takes } = SUITES[name]!;
  const given: Record<string, string | undefined> = { ...values, image };
  const options = takes.filter((option) => given[option] !== undefined)
    .flatMap((option) => [`--${option}`, given[option]!]);
  const runtime = "Deno" in globalThis ? ["run", "-A"] : [];
  tell(`${name}: bench/${script} ${options.join(" ")}`);
  const { status } = spawnSync(
    process.execPath,
    [...runtime, path.join(here, script), ...options, "--json", json],
    { stdio: "inherit" },
  );
  if (status === 0) return JSON.parse(fs.readFileSync(json, "utf8")) as Report;
  tell(`${name} failed`);
  process.exitCode = 1;
  return undefined;
}

function writePage(results: Results, file: string): void {
  fs.writeFileSync(file, renderPage(results));
  print(`wrote ${file}`);
}

function runAll(): void {
  const names = parseList(values.only, Object.keys(SUITES)).filter((name) => {
    const missing = missingFor(name);
    if (missing !== undefined) tell(`${name} is skipped: ${missing}`);
    return missing === undefined;
  });
  const size = parseSize(values.size);
  const place = new Place(size);
  const image = names.some((name) => SUITES[name]!.takes.includes("image"))
    ? place.image(size, undefined)
    : "";
  const reports = names.map((name) => runSuite(name, image, place.file("report.json")))
    .filter((report) => report !== undefined);
  if (reports.length === 0) throw new Error("No benchmark was done");
  const versions = Object.assign({}, ...reports.map(({ machine }) => machine.versions));
  const results = { machine: { ...reports[0]!.machine, versions }, reports };
  fs.mkdirSync(values.out, { recursive: true });
  const json = path.join(values.out, "bench.json");
  fs.writeFileSync(json, `${JSON.stringify(results, null, 1)}\n`);
  print(`wrote ${json}`);
  writePage(results, path.join(values.out, "bench.html"));
}

await runBenchmark("bench", () => {
  if (values.page === undefined) runAll();
  else {
    const results = JSON.parse(fs.readFileSync(values.page, "utf8")) as Results;
    writePage(results, values.page.replace(/(\.json)?$/, ".html"));
  }
  return Promise.resolve();
});
