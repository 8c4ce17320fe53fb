/** Against real QEMUs: `deno task test:qemu`. Where none can be fetched, it says why. */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { Report } from "../_report.ts";
import { root, setUp } from "../_tools.ts";
import { fetchQemus } from "./fetch.ts";
import { WHY_NOT } from "./_lab.ts";
import { fetchPromtool } from "./promtool.ts";

setUp();
const missing = [...fetchQemus(), ...fetchPromtool()];
const report = new Report("test-qemu");
const args = process.argv.slice(2);
const files = fs.readdirSync(path.join(root, "tests", "qemu"))
  .filter((name) => name.endsWith("_test.ts")).sort().map((name) => `tests/qemu/${name}`);
// two at a time, since a QEMU waits a lot; what is chosen may all be in one of them
const runners = args.length > 0 ? 1 : 2;
await Promise.all(Array.from({ length: runners }, (_, runner) => {
  const name = `qemu-${runner + 1}`;
  const share = files.length / runners;
  const module = report.moduleOf(name, files.slice(runner * share, (runner + 1) * share));
  const options = ["-A", "--quiet", "--no-check", `--junit-path=${report.file(name)}`];
  const env = { [WHY_NOT]: missing.join("; ") };
  return report.run(name, process.execPath, ["test", ...options, ...args, module], env);
}));
await report.close(...missing);
