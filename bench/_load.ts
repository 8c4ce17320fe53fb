/** What else the machine did meanwhile: CPU time that is neither this process's nor its children's. */
import fs from "node:fs";
import os from "node:os";

/** Ticks of /proc in a second: USER_HZ, the same on every Linux that runs here. */
export const TICKS = 100;

/** What the machine did during a run. */
export interface Load {
  /** Seconds it took. */
  seconds: number;
  /** Share of all cores that other processes used. */
  others: number;
  /** Share of all cores that the host gave to other machines. */
  stolen: number;
}

interface Ticks {
  at: number;
  busy: number;
  own: number;
  stolen: number;
}

/** Fields of a /proc/PID/stat after the command's name, which may hold anything. */
export function statFields(pid: number | "self"): string[] {
  const text = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}

function readTicks(): Ticks {
  const line = fs.readFileSync("/proc/stat", "latin1").split("\n", 1)[0]!;
  const [user, nice, system, , , irq, softirq, steal] = line.split(/\s+/).slice(1).map(Number);
  // utime, stime, and those of the children that have ended
  const own = statFields("self").slice(11, 15).map(Number);
  return {
    at: performance.now(),
    busy: user! + nice! + system! + irq! + softirq!,
    own: own.reduce((sum, ticks) => sum + ticks, 0),
    stolen: steal!,
  };
}

/** Notes what the machine does while something runs whose processes end before it does. */
export async function withLoad<T>(run: () => Promise<T>): Promise<[result: T, load: Load]> {
  const before = readTicks();
  const result = await run();
  const after = readTicks();
  const seconds = (after.at - before.at) / 1000;
  const all = seconds * TICKS * os.cpus().length;
  const others = after.busy - before.busy - (after.own - before.own);
  return [result, {
    seconds,
    others: Math.max(0, others / all),
    stolen: (after.stolen - before.stolen) / all,
  }];
}
