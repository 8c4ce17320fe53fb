/**
 * A source QEMU, the command, or a destination QEMU is killed at any moment: nothing hangs, what
 * has its final name is complete, and a guest whose saving was cut off goes on. More moments:
 * `MOMENTS=100 SEED=1 deno task test:qemu --filter killed`.
 */
import fs from "node:fs";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { assert, assertEquals } from "@std/assert";
import { inspect } from "../../mod.ts";
import { Random } from "../_random.ts";
import type { Outcome, Running, Runtime } from "../cli/_command.ts";
import { countRounds } from "./_guest.ts";
import { type Lab, qemuTest } from "./_lab.ts";
import { until, within } from "./_wait.ts";

const MOMENTS = Number(process.env.MOMENTS ?? 6);
const SEED = Number(process.env.SEED ?? 1);
const METHODS = ["none", "zlib", "zstd"];

interface Moment {
  victim: "QEMU" | "the command";
  runtime: Runtime;
  method: string;
  /** When, in percent of what it takes undisturbed. */
  percent: number;
}

function moments(seed: number): Moment[] {
  const random = new Random(seed);
  return Array.from({ length: MOMENTS }, () => ({
    victim: random.pick(["QEMU", "the command"] as const),
    runtime: random.pick(["deno", "bun"] as const),
    method: random.pick(METHODS),
    percent: random.below(110),
  }));
}

/** How long a command of a runtime takes, in milliseconds, tried once. */
const durations = new Map<string, number>();

/** Runs a command and kills it, or a QEMU, on its way. */
async function killOnTheWay(
  name: string,
  { victim, runtime, percent }: Moment,
  start: () => Running,
  killQemu: () => Promise<void>,
): Promise<Outcome> {
  const running = start();
  await sleep(durations.get(`${name} ${runtime}`)! * percent / 100);
  if (victim === "QEMU") await killQemu();
  else running.child.kill("SIGKILL");
  return await within(`${name} ends`, running.outcome);
}

/** Everything under its final name is complete; what is partial says so. */
async function checkPlace(lab: Lab, name: string): Promise<boolean> {
  for (const file of lab.files(name)) assert(/^\w+(\.partial-\d+)?$/.test(file), file);
  if (!fs.existsSync(lab.path(name))) return false;
  await inspect(lab.path(name));
  return true;
}

async function time(name: string, runtime: Runtime, run: () => Promise<unknown>): Promise<void> {
  const startedAt = performance.now();
  await run();
  durations.set(`${name} ${runtime}`, performance.now() - startedAt);
}

const saveArgs = (lab: Lab, socket: string, out: string, method: string): string[] => {
  const how = ["--method", method, "--timeout", "20", "--resume"];
  return ["save", "--qmp", socket, "--out", lab.path(out), ...how];
};

qemuTest("10.0", `killed while saving, ${MOMENTS} moments of seed ${SEED}`, async (lab) => {
  for (const runtime of ["deno", "bun"] as const) {
    const source = await lab.running({ version: "10.0" });
    const args = saveArgs(lab, source.qmpSocket, `first${runtime}`, "zstd");
    await time("save", runtime, () => lab.run(runtime, 0, ...args));
    await source.kill();
  }
  for (const [i, moment] of moments(SEED).entries()) {
    const source = await lab.running({ version: "10.0" });
    const args = saveArgs(lab, source.qmpSocket, `vm${i}`, moment.method);
    const start = (): Running => lab.multifd(moment.runtime, ...args);
    const { code, stderr } = await killOnTheWay("save", moment, start, () => source.kill());
    const what = `moment ${i}: ${JSON.stringify(moment)}\n${stderr}`;
    const isWhole = await checkPlace(lab, `vm${i}`);
    if (code === 0) assert(isWhole, what);
    if (moment.victim === "the command") {
      await until("QEMU migrates no more", async () => {
        const { status = "none" } = await source.migration();
        return ["none", "completed", "failed", "cancelled"].includes(status);
      });
      // one that was killed after the end could not let it go on
      if (await source.state() === "postmigrate") {
        assert(isWhole, what);
        await source.execute("cont");
      }
      await source.guestGoesOn();
      countRounds(source.console);
      await lab.run("bun", 0, ...saveArgs(lab, source.qmpSocket, `again${i}`, "none"));
    } else if (code !== 0) {
      assert(!lab.files(`vm${i}`).some((file) => file.includes(".partial-")), what);
    }
    await source.kill();
  }
});

qemuTest("10.0", `killed while restoring, ${MOMENTS} moments of seed ${SEED}`, async (lab) => {
  const source = await lab.running({ version: "10.0" });
  await lab.run("deno", 0, ...saveArgs(lab, source.qmpSocket, "vm", "zstd"));
  await source.kill();
  const restoreArgs = (socket: string, method: string): string[] => {
    return ["restore", lab.path("vm"), "--qmp", socket, "--method", method, "--timeout", "20"];
  };
  for (const runtime of ["deno", "bun"] as const) {
    const target = await lab.waiting({ version: "10.0" });
    const args = restoreArgs(target.qmpSocket, "zstd");
    await time("restore", runtime, () => lab.run(runtime, 0, ...args));
    await target.kill();
  }
  for (const [i, moment] of moments(SEED + 1).entries()) {
    const target = await lab.waiting({ version: "10.0" });
    const args = restoreArgs(target.qmpSocket, moment.method);
    const start = (): Running => lab.multifd(moment.runtime, ...args);
    const { code, stderr } = await killOnTheWay("restore", moment, start, () => target.kill());
    const what = `moment ${i}: ${JSON.stringify(moment)}\n${stderr}`;
    if (code === 0 && moment.victim === "the command") await target.guestGoesOn();
    if (code !== null) assert([0, 1, 3].includes(code), what);
    assertEquals(await checkPlace(lab, "vm"), true, what);
    await target.kill();
  }
  const target = await lab.waiting({ version: "10.0" });
  await lab.run("bun", 0, ...restoreArgs(target.qmpSocket, "zstd"));
  await target.guestGoesOn();
});
