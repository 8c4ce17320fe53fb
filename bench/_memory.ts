/** The memory of processes that run, as the kernel counts it. */
import fs from "node:fs";

/** The kernel keeps the most there ever was, so only what comes after the last look is missed. */
const LOOK_MS = 20;

/** The most bytes a process had resident so far; undefined once it has ended. */
export function peakResident(pid: number): number | undefined {
  try {
    const peak = /^VmHWM:\s+(\d+) kB/m.exec(fs.readFileSync(`/proc/${pid}/status`, "latin1"));
    return peak === null ? undefined : Number(peak[1]) * 1024;
  } catch {
    return undefined;
  }
}

/** Looks at a process until it ends; returns the most bytes it had resident. */
export async function watchResident(pid: number): Promise<number> {
  let most = 0;
  for (;;) {
    const now = peakResident(pid);
    if (now === undefined) return most;
    most = now;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
