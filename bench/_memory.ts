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

/** What a process had resident at most, in bytes. */
export interface Resident {
  /** In the first half of the time. */
  halfway: number;
  /** In all. */
  peak: number;
}

/** Looks at a process until it ends. */
export async function watchResident(pid: number): Promise<Resident> {
  const peaks: number[] = [];
  for (let now = peakResident(pid); now !== undefined; now = peakResident(pid)) {
    peaks.push(now);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  return { halfway: peaks[peaks.length >> 1] ?? 0, peak: peaks.at(-1) ?? 0 };
}
