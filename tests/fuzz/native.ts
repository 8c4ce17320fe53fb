/**
 * Fuzzes the shim's decoders: `deno task fuzz:native [--time 5m] [--seed 1] [--only isal]`.
 * A finding's input is kept in `.reports/fuzz/`; its program, given that file, runs it again.
 */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { root } from "../_tools.ts";
import { build, LIBRARIES, runFuzzer, whyNot, writeCorpus } from "./_native.ts";
import { parseTime } from "./_time.ts";

const { values } = parseArgs({
  options: {
    time: { type: "string", default: "5m" },
    seed: { type: "string", default: "1" },
    only: { type: "string" },
  },
});

if (spawnSync("clang", ["--version"]).error && process.getuid?.() === 0) {
  const install = ["install", "-y", "-qq", "--no-install-recommends", "clang", "libclang-rt-dev"];
  spawnSync("apt-get", ["update", "-qq"], { stdio: "inherit" });
  spawnSync("apt-get", install, { stdio: "inherit" });
}

const seed = Number(values.seed);
const wanted = LIBRARIES.filter(({ name }) => (values.only ?? name) === name);
const here = wanted.filter((library) => {
  const why = whyNot(library);
  if (why !== undefined) console.log(`${library.name} is left out: ${why}`);
  return why === undefined;
});
const seconds = Math.ceil(parseTime(values.time) / 1000 / Math.max(1, here.length));
const folder = path.join(root, ".reports", "fuzz");
fs.mkdirSync(folder, { recursive: true });
let findings = 0;
for (const library of here) {
  const corpus = path.join(folder, `corpus-${library.name}`);
  const seeds = await writeCorpus(library, corpus, seed);
  const program = build(library, folder);
  const limits = [`-max_total_time=${seconds}`, `-seed=${seed}`];
  const { inputs, edges, finding } = runFuzzer(program, corpus, limits, folder);
  const from = `from ${seeds} seeds`;
  console.log(`${library.name.padEnd(10)} ${inputs} inputs ${from}, ${edges} edges, ${seconds} s`);
  if (finding === undefined) continue;
  findings++;
  console.log(`FAILED ${library.name}: ${finding}`);
}
console.log(`seed ${seed}: ${findings} findings in ${here.length} libraries`);
process.exitCode = findings === 0 && here.length > 0 ? 0 : 1;
