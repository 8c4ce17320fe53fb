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

/** Runs some tests, shows what they said when they are through, and counts them. */
async function run(name: string, command: string, args: string[]): Promise<boolean> {
  const output = path.join(REPORTS, `${name}.txt`);
  const hasPassed = await startTool(command, args, { MULTIFD_TEST_DENO: process.execPath }, output);
  process.stdout.write(fs.readFileSync(output));
  countCases(path.join(REPORTS, `${name}.xml`), counts);
  return hasPassed;
}

function runDeno(name: string, ...args: string[]): Promise<boolean> {
  const report = `--junit-path=${path.join(REPORTS, `${name}.xml`)}`;
  return run(name, process.execPath, ["test", "-A", "--quiet", "--no-check", report, ...args]);
}

function runBun(name: string): Promise<boolean> {
  const report = ["--reporter=junit", `--reporter-outfile=${path.join(REPORTS, `${name}.xml`)}`];
  return run(name, bunPath()!, ["test", "--timeout=120000", ...report, "./tests"]);
}

/** Checks in C, under sanitizers: compilers and processors, whatever the runtime. */
const NATIVE = "tests/native";

// two at a time, since one alone waits a lot; Deno takes longest without the checks in C as well
const [denoPassed, othersPassed] = await Promise.all([
  runDeno("deno", `--ignore=${NATIVE}`),
  runBun("bun").then(async (bunPassed) => await runDeno("native", NATIVE) && bunPassed),
]);

// a runner may also fail outside of any test case
if (!(denoPassed && othersPassed) && counts.failed === 0) counts.failed++;
if (failedChecks.length > 0) console.log(`failed checks: ${failedChecks.join(", ")}`);
for (const name of counts.skipped) console.log(`skipped: ${name}`);
console.log(
  `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped.length} skipped`,
);
process.exitCode = counts.failed > 0 ? 1 : 0;
