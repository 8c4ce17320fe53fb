/**
 * Fuzzes everything that reads what others send:
 * `deno task fuzz [--time 10m] [--seed 1] [--only NAME] [--iterations N] [--replay FILE]`.
 *
 * Bun: `node_modules/.bin/bun tests/fuzz/run.ts --time 10m --seed 1`.
 *
 * A seed and an iteration decide an input; the time decides how many there are. The work is done
 * in a child, so that a crash of the runtime or an endless loop is a finding like any other.
 */
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { root } from "../_tools.ts";
import { type Failure, feed, MAX_MS, minimise, randomOf, type Tally, tryInput } from "./_loop.ts";
import { type Input, loadInput, saveInput, type Target } from "./_target.ts";
import { targetNamed, TARGETS } from "./_targets.ts";
import { parseTime } from "./_time.ts";

/** How long a target is fed before the next one is, in milliseconds. */
const TURN_MS = 250;
/** Most memory of the process at its peak. */
const MAX_PEAK = 1.5 * 1024 ** 3;

const { values } = parseArgs({
  options: {
    time: { type: "string", default: "1m" },
    seed: { type: "string", default: "1" },
    only: { type: "string" },
    iterations: { type: "string" },
    replay: { type: "string" },
    /** The child's: where it tells what it is at. */
    state: { type: "string" },
    /** Without a child, and nothing made smaller: for a run that is watched or measured. */
    inline: { type: "boolean", default: false },
  },
});

function report({ target, seed, iteration, input }: Failure, why: string): void {
  const folder = path.join(root, ".reports", "fuzz");
  fs.mkdirSync(folder, { recursive: true });
  const file = path.join(folder, `${target.name}-${seed}-${iteration}.gz`);
  saveInput(file, target.name, input);
  console.log(`FAILED ${target.name}: seed ${seed}, iteration ${iteration}: ${why}`);
  console.log(`  again: deno task fuzz --replay ${path.relative(root, file)}`);
}

/** The most memory that this process has ever had, in bytes; Linux alone tells. */
function peakMemory(): number {
  const status = fs.existsSync("/proc/self/status") ? "/proc/self/status" : undefined;
  const text = status === undefined ? "" : fs.readFileSync(status, "latin1");
  return 1024 * Number(/VmHWM:\s+(\d+)/.exec(text)?.[1] ?? 0);
}

/** Feeds all targets in turn; true if nothing went wrong. */
async function fuzz(targets: readonly Target[], seed: number): Promise<boolean> {
  const most = values.iterations === undefined ? Infinity : Number(values.iterations);
  const end = performance.now() + (most < Infinity ? Infinity : parseTime(values.time));
  const state = values.state === undefined ? undefined : fs.openSync(values.state, "w");
  const tallies = targets.map((): Tally => ({ taken: 0, refused: 0 }));
  const next = targets.map(() => 0);
  const failures: Failure[] = [];
  const waiting = new Set(targets.keys());
  while (waiting.size > 0 && performance.now() < end) {
    for (const i of waiting) {
      const target = targets[i]!;
      const turnEnd = Math.min(end, performance.now() + TURN_MS * (target.weight ?? 1));
      const result = await feed(target, tallies[i]!, {
        seed,
        from: next[i]!,
        goesOn: (iteration) => iteration < most && performance.now() < turnEnd,
        onIteration: (iteration) => {
          // of one length, so that what is written over is whole
          const line = `${i} ${iteration}`.padEnd(32);
          if (state !== undefined) fs.writeSync(state, new TextEncoder().encode(line), 0, 32, 0);
        },
      });
      if (typeof result === "number") {
        next[i] = result;
        if (result >= most) waiting.delete(i);
        continue;
      }
      failures.push(result);
      if (!values.inline) result.input = await minimise(result);
      report(result, `${(result.error as Error)?.stack ?? result.error}`);
      next[i] = result.iteration + 1;
      // the same finding again and again tells nothing
      if (failures.filter((failure) => failure.target === target).length >= 3) waiting.delete(i);
    }
  }
  for (const [i, { name }] of targets.entries()) {
    const { taken, refused } = tallies[i]!;
    console.log(`${name.padEnd(16)} ${taken + refused} inputs, ${taken} taken, ${refused} refused`);
  }
  const peak = peakMemory();
  if (peak > MAX_PEAK) console.log(`FAILED: more than ${MAX_PEAK / 2 ** 20} MiB of memory`);
  console.log(
    `seed ${seed}: ${failures.length} failures, ${Math.round(peak / 2 ** 20)} MiB at most`,
  );
  return failures.length === 0 && peak <= MAX_PEAK;
}

/** Runs this file in a child and watches over it; true if nothing went wrong. */
async function watch(targets: readonly Target[], seed: number): Promise<boolean> {
  const folder = path.join(root, ".reports", "fuzz");
  fs.mkdirSync(folder, { recursive: true });
  const state = path.join(folder, `state-${process.pid}`);
  fs.writeFileSync(state, "");
  const self = fileURLToPath(import.meta.url);
  const runtime = "Deno" in globalThis ? ["run", "-A", "--no-check"] : [];
  const args = [...runtime, self, ...process.argv.slice(2), "--state", state];
  const child = spawn(process.execPath, args, { stdio: "inherit" });
  let isHanging = false;
  let before = "";
  const timer = setInterval(() => {
    const now = fs.readFileSync(state, "utf8");
    // it tells of its own what merely takes long
    if (now === before && now !== "") isHanging = child.kill("SIGKILL");
    before = now;
  }, 3 * MAX_MS);
  const status = await new Promise((resolve) => {
    child.on("close", (code, signal) => resolve(signal ?? code));
  });
  clearInterval(timer);
  const last = fs.readFileSync(state, "utf8").trim();
  fs.rmSync(state);
  if (status === 0 || status === 1) return status === 0;
  const [which, iteration] = last.split(" ").map(Number);
  const target = targets[which ?? 0]!;
  const input: Input = await target.generate(randomOf(seed, iteration ?? 0));
  const why = isHanging ? "it never ends" : `the runtime ended with ${status}`;
  report({ target, seed, iteration: iteration ?? 0, error: undefined, input }, why);
  return false;
}

async function replay(file: string): Promise<boolean> {
  const { target, input } = loadInput(file);
  const wasTaken = await tryInput(targetNamed(target), input);
  console.log(`${target}: ${wasTaken ? "taken" : "refused"}, as it should be`);
  return true;
}

async function main(): Promise<boolean> {
  if (values.replay !== undefined) return await replay(values.replay);
  const seed = Number(values.seed);
  if (!Number.isInteger(seed)) throw new Error("--seed is a whole number");
  parseTime(values.time);
  const targets = values.only === undefined ? TARGETS : values.only.split(",").map(targetNamed);
  return await (values.inline || values.state ? fuzz(targets, seed) : watch(targets, seed));
}

// not process.exit(): what measures coverage writes it at the end
process.exitCode = await main() ? 0 : 1;
