/** What a benchmark writes with `--json`, and the page is made of. */
import fs from "node:fs";
import process from "node:process";
import { print, table, tell } from "../src/cli/output.ts";
import type { Machine } from "./_machine.ts";
import type { ImageInfo } from "./_place.ts";
import type { Run } from "./_rounds.ts";
import { rangeText, type Spread } from "./_statistics.ts";
import { type Limit, limitText, type Summary, type Verdict } from "./_summary.ts";

interface Common {
  machine: Machine;
  image: ImageInfo;
  options: Record<string, unknown>;
  /** What a reader must know: noise, what could not be measured, what was made up. */
  notes: string[];
}

/** Programs that move an image, against a reference. */
export interface MovesReport extends Common {
  suite: "gate" | "qemu";
  summaries: Summary[];
  runs: Run[];
}

/** A figure with a limit of its own. */
export interface Check extends Limit {
  what: string;
  runtime: string;
  method: string | undefined;
  unit: string;
  value: Spread;
  verdict: Verdict;
}

/** How figures grow with the image and the channels, and what whole commands take. */
export interface ChecksReport extends Common {
  suite: "growth" | "commands";
  checks: Check[];
  /** What the checks were computed from. */
  runs: object[];
}

/** One engine on one method's packets. */
export interface EngineFigures {
  method: string;
  engine: string;
  /** MB/s of pages with data on one core; undefined where the engine cannot. */
  encode: Spread | undefined;
  decode: Spread | undefined;
  /** Share of the bytes that is left. */
  left: number | undefined;
}

/** One step of the protocol. */
export interface StepFigures {
  step: string;
  /** Microseconds per call. */
  time: Spread;
}

/** Methods, engines and steps by themselves. */
export interface MicroReport extends Common {
  suite: "micro";
  engines: EngineFigures[];
  steps: StepFigures[];
}

/** What one benchmark found. */
export type Report = MovesReport | ChecksReport | MicroReport;

/** Writes a report where one is wanted. */
export function writeReport(file: string | undefined, report: Report): void {
  if (file !== undefined) fs.writeFileSync(file, `${JSON.stringify(report, null, 1)}\n`);
}

/** Checks as rows, the heading first. */
export function checkRows(checks: readonly Check[]): string[][] {
  return [
    ["what", "runtime", "method", "median", "min..max", "unit", "limit", ""],
    ...checks.map((check) => [
      check.what,
      check.runtime,
      check.method ?? "",
      check.value.median.toFixed(2),
      rangeText(check.value, 2),
      check.unit,
      limitText(check),
      check.verdict === "none" ? "" : check.verdict,
    ]),
  ];
}

/** Prints checks as a table. */
export function printChecks(checks: readonly Check[]): void {
  print(table(checkRows(checks)));
}

/** Runs a benchmark; whatever it leaves behind ends with the process. */
export async function runBenchmark(name: string, measure: () => Promise<void>): Promise<never> {
  try {
    await measure();
  } catch (error) {
    tell(`${name}: ${(error as Error).message}`);
    process.exitCode = 1;
  }
  process.exit();
}
