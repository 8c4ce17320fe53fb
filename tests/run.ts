/** Everything CI runs: set-up, checks, the tests under Deno and under Bun: `deno task test`. */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { bunPath, root, setUp, startTool } from "./_tools.ts";
import { runChecks } from "./check.ts";

const REPORTS = path.join(root, ".reports");

interface Counts {
  passed: number;
  failed: number;
  skipped: string[];
}

/** Counts the test cases of a runner's JUnit report. */
function countCases(file: string, counts: Counts): void {
  const report = fs.existsSync(file) ? fs.readFileSync(file, "utf8") : "";
  const cases = report.split("<testcase ").slice(1);
  // a runner that crashed before it reported anything has not passed
  if (cases.length === 0) counts.failed++;
  for (const text of cases) {
    const name = /name="([^"]*)"/.exec(text)?.[1] ?? "?";
    if (/<(failure|error)\b/.test(text)) counts.failed++;
    else if (/<skipped\b/.test(text)) counts.skipped.push(name);
    else counts.passed++;
  }
}

setUp();
fs.rmSync(REPORTS, { recursive: true, force: true });
fs.mkdirSync(REPORTS);
const counts: Counts = { passed: 0, failed: 0, skipped: [] };

const failedChecks = runChecks();
counts.failed += failedChecks.length;

const reportOf = (name: string): string => path.join(REPORTS, `${name}.xml`);

/** Runs some tests, shows what they said when they are through, and counts them. */
async function run(name: string, command: string, ...args: string[]): Promise<boolean> {
  const output = path.join(REPORTS, `${name}.txt`);
  const hasPassed = await startTool(command, args, { MULTIFD_TEST_DENO: process.execPath }, output);
  process.stdout.write(fs.readFileSync(output));
  countCases(reportOf(name), counts);
  return hasPassed;
}

/** Checks in C, under sanitizers: compilers and processors, whatever the runtime. */
const NATIVE = "tests/native";

const deno = [process.execPath, "test", "-A", "--quiet", "--no-check"] as const;
const bun = [bunPath()!, "test", "--timeout=120000", "--reporter=junit"] as const;

// at the same time, since each waits a lot; the checks in C take what is left of the processors
const passed = await Promise.all([
  run("deno", ...deno, `--junit-path=${reportOf("deno")}`, `--ignore=${NATIVE}`),
  run("bun", ...bun, `--reporter-outfile=${reportOf("bun")}`, "./tests"),
  run("native", "nice", ...deno, `--junit-path=${reportOf("native")}`, NATIVE),
]);

// a runner may also fail outside of any test case
if (passed.includes(false) && counts.failed === 0) counts.failed++;
if (failedChecks.length > 0) console.log(`failed checks: ${failedChecks.join(", ")}`);
for (const name of counts.skipped) console.log(`skipped: ${name}`);
console.log(
  `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped.length} skipped`,
);
process.exitCode = counts.failed > 0 ? 1 : 0;
