/** Everything CI runs: set-up, checks, the tests under Deno and under Bun: `deno task test`. */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { bunPath, root, runTool, setUp } from "./_tools.ts";
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

const denoReport = path.join(REPORTS, "deno.xml");
const denoPassed = runTool(process.execPath, [
  ...["test", "-A", "--quiet", "--no-check", `--junit-path=${denoReport}`],
]);
countCases(denoReport, counts);

const bunReport = path.join(REPORTS, "bun.xml");
const bunPassed = runTool(
  bunPath()!,
  ["test", "--timeout=120000", "--reporter=junit", `--reporter-outfile=${bunReport}`, "./tests"],
  { MULTIFD_TEST_DENO: process.execPath },
);
countCases(bunReport, counts);

// a runner may also fail outside of any test case
if (!(denoPassed && bunPassed) && counts.failed === 0) counts.failed++;
if (failedChecks.length > 0) console.log(`failed checks: ${failedChecks.join(", ")}`);
for (const name of counts.skipped) console.log(`skipped: ${name}`);
console.log(
  `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped.length} skipped`,
);
process.exitCode = counts.failed > 0 ? 1 : 0;
