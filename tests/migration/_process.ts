/** What this process holds: descriptors, threads, memory. */
import fs from "node:fs";
import process from "node:process";
import v8 from "node:v8";
import vm from "node:vm";

/** How long it may take to give back what is given back after the last promise, in milliseconds. */
const SETTLE_MS = 20_000;
const LOOK_MS = 200;

/** What a process holds. */
export interface Holdings {
  /** What its descriptors are of, without sockets' and pipes' numbers. */
  descriptors: string[];
  /** Threads, without those that the runtime begins and ends by itself. */
  threads: number;
}

function nameOf(descriptor: string): string {
  try {
    return fs.readlinkSync(`/proc/self/fd/${descriptor}`).replace(/:\[\d+\]$/, "");
  } catch {
    // the one that listed the others
    return "";
  }
}

/** Threads for file calls, for compiling and for collecting garbage; the kernel cuts names. */
const RUNTIMES_OWN = /^(tokio-|Bun Pool|JITWorker|HeapHelper|JSCWarmUp|ollector Thread|V8 )/;

function isRuntimesOwn(id: string): boolean {
  try {
    return RUNTIMES_OWN.test(fs.readFileSync(`/proc/self/task/${id}/comm`, "utf8"));
  } catch {
    // ended meanwhile
    return true;
  }
}

/** What it holds at this moment. */
export function holdings(): Holdings {
  return {
    descriptors: fs.readdirSync("/proc/self/fd").map(nameOf).sort(),
    threads: fs.readdirSync("/proc/self/task").filter((id) => !isRuntimesOwn(id)).length,
  };
}

/**
 * Settles: threads and descriptors are given back a moment after the last promise, a file only
 * when what was begun to be put on disk is there.
 *
 * @param isSettled Whether it may be all; what changes no more is taken after a while.
 */
export async function settledHoldings(
  isSettled: (holdings: Holdings) => boolean = () => true,
): Promise<Holdings> {
  let last = holdings();
  for (let waited = 0; waited < SETTLE_MS; waited += LOOK_MS) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    const now = holdings();
    const isSame = now.descriptors.length === last.descriptors.length;
    if (isSame && now.threads === last.threads && isSettled(now)) break;
    last = now;
  }
  return last;
}

/** The collector, which neither runtime shows by itself in the same way. */
function findCollector(): () => void {
  const { Bun } = globalThis as { Bun?: { gc(isNow: boolean): void } };
  if (Bun !== undefined) return () => Bun.gc(true);
  v8.setFlagsFromString("--expose-gc");
  return vm.runInNewContext("gc");
}

const collect = findCollector();

/** Resident memory without garbage, in MiB. */
export function residentMemory(): number {
  collect();
  return process.memoryUsage().rss / 2 ** 20;
}
