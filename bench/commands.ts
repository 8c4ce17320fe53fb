/**
 * Whole commands by hyperfine, which fits what ends by itself: from nothing but the runtime to
 * a recording of QEMU's that is played, hashed and checked.
 *
 * `deno run -A bench/commands.ts [--runs 9] [--runtime deno,bun] [--json FILE]`
 */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { print, tell } from "../src/cli/output.ts";
import { withLoad } from "./_load.ts";
import { describeMachine } from "./_machine.ts";
import { COMMON, parseCount, parseList, readOptions, reported } from "./_options.ts";
import { describeImage, Place } from "./_place.ts";
import { multifd, RUNTIMES } from "./_process.ts";
import { type Check, printChecks, runBenchmark, writeReport } from "./_report.ts";
import { spreadOf } from "./_statistics.ts";

const RECORDING = fileURLToPath(new URL("../tests/testdata/recordings/zstd", import.meta.url));
const COMMANDS: Record<string, readonly string[]> = {
  "multifd --help, every verb loaded": ["--help"],
  "multifd send --help": ["send", "--help"],
  "multifd inspect of a recording": ["inspect", RECORDING],
};
/** The first start fills the runtime's cache. */
const WARM_UP = 2;

const { runs, runtime, json } = COMMON;
const values = readOptions({ runs, runtime, json });
const count = parseCount(values.runs);
const runtimes = parseList(values.runtime, RUNTIMES);
const place = new Place(0);
const empty = place.file("empty.ts");

/** What hyperfine writes, as far as it is used: seconds. */
interface Exported {
  results: { times: number[] }[];
}

/** Milliseconds of each run of a command. */
function timesOf(command: readonly string[]): number[] {
  const file = place.file("hyperfine.json");
  const quoted = command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
  const { error, status, stderr } = spawnSync(
    "hyperfine",
    ["-N", "--style=none", `-w${WARM_UP}`, `-r${count}`, "--export-json", file, quoted],
    { encoding: "utf8" },
  );
  if (error !== undefined) throw new Error("No hyperfine (Debian: apt-get install hyperfine)");
  if (status !== 0) throw new Error(`hyperfine failed: ${stderr}`);
  const [result] = (JSON.parse(fs.readFileSync(file, "utf8")) as Exported).results;
  return result!.times.map((seconds) => seconds * 1000);
}

function checkOf(what: string, runtime: string, command: readonly string[]): Check {
  tell(`${what}, ${runtime}`);
  const value = spreadOf(timesOf(command));
  return { what, runtime, method: undefined, unit: "ms", value, verdict: "none" };
}

await runBenchmark("commands", async () => {
  fs.writeFileSync(empty, "");
  const [checks, load] = await withLoad(() =>
    Promise.resolve(runtimes.flatMap((runtime) => [
      checkOf("the runtime alone", runtime, [...multifd(runtime).slice(0, -1), empty]),
      ...Object.entries(COMMANDS).map(([what, args]) =>
        checkOf(what, runtime, [...multifd(runtime), ...args])
      ),
    ]))
  );
  const notes = [`other processes used ${(load.others * 100).toFixed(1)} % of the machine`];
  writeReport(values.json, {
    suite: "commands",
    machine: describeMachine(),
    image: describeImage(path.join(RECORDING, "ch0.bin")),
    options: reported(values),
    notes,
    checks,
    runs: [],
  });
  print(`median of ${count}`);
  printChecks(checks);
  notes.forEach(print);
});
