/** Migrations over a simulated device that misbehaves, and what must hold after each. */
import { MemoryImage } from "../../mod.ts";
import type { EngineCounts } from "../../src/engines/engine.ts";
import { NOT_OPENED } from "../../src/engines/fallback.ts";
import { statusName } from "../../ffi/status_names.ts";
import { Random } from "../_random.ts";
import { migrate, mixedPages } from "../migration/_migrate.ts";
import { type DeviceMethod, FAULTS, type Sim, type SimCounts } from "./_sim.ts";

/** Which side of the migration has the device. */
export type Direction = "encode" | "decode";

/** Statuses that a device may report, as the libraries have them; see native-libraries.md. */
const STATUSES: Record<DeviceMethod, Record<Direction, readonly number[]>> = {
  qpl: {
    encode: [2, 5, 8, 219, 303, 333, 336, 431],
    decode: [5, 8, 201, 213, 217, 218, 219, 235, 236, 303, 333, 336, 431],
  },
  qatzip: {
    encode: [-1, -2, -3, -4, -5, -100, -101, -102, -103, -104, -116],
    decode: [-1, -2, -3, -4, -5, -100, -101, -102, -103, -104, -116],
  },
};

/** What QATzip says of a device that is gone. */
const LOST = statusName("qatzip", -101);

const NO_FAULTS = "seed=0";
const SHARES = ["busy", "wait", "status", "length", "corrupt", "delay"] as const;
const PAGES = [128, 200, 384] as const;
const CHANNELS = 2;

/** What a schedule did. */
export interface Outcome {
  /** The schedule, as sim_configure() takes it. */
  schedule: string;
  /** What the device says. */
  sim: SimCounts;
  /** What we counted. */
  ours: EngineCounts;
  /** What is wrong; empty if nothing is. */
  wrong: string[];
}

/** Makes the schedule of a seed: a few faults, each rare or common, on a small or large queue. */
function scheduleOf(method: DeviceMethod, direction: Direction, seed: number): string {
  const random = new Random(seed);
  const statuses = STATUSES[method][direction];
  const parts = [
    `seed=${seed}`,
    `depth=${random.pick([1, 2, 8, 64, 256])}`,
    `threads=${random.pick([1, 2, 3])}`,
  ];
  for (const share of SHARES) {
    const most = share === "delay" ? 0.02 : 0.3;
    if (random.below(2) === 0) {
      parts.push(`${share}=${(random.below(1000) / 1000 * most).toFixed(4)}`);
    }
  }
  if (random.below(8) === 0) parts.push(`lost=${random.pick([0.002, 0.02])}`);
  const count = 1 + random.below(statuses.length);
  const chosen = Array.from({ length: count }, () => random.pick(statuses));
  parts.push(`statuses=${[...new Set(chosen)].join(",")}`);
  return parts.join(" ");
}

/**
 * Moves an image with the device on one side, by the schedule of a seed.
 *
 * Corrupt output is what only `verify` can catch, so it is on.
 */
export async function runSchedule(
  sim: Sim,
  method: DeviceMethod,
  direction: Direction,
  seed: number,
): Promise<Outcome> {
  const schedule = scheduleOf(method, direction, seed);
  const random = new Random(~seed);
  const pages = mixedPages(random.pick(PAGES), 4096, seed);
  const shared = new Uint8Array(new SharedArrayBuffer(pages.length));
  shared.set(pages);
  // every fourth with a worker a channel
  const transport = seed % 4 === 0 ? "native" : "runtime";
  const device = { engine: "simulated", verify: true, transport, method } as const;
  const software = { engine: "auto", transport, method } as const;
  sim.configure(schedule);
  const { sent, received, image } = await migrate(
    new MemoryImage({ "pc.ram": shared }),
    { ...(direction === "encode" ? device : software), channels: CHANNELS },
    direction === "decode" ? device : software,
  ).catch((error) => {
    sim.configure(NO_FAULTS);
    throw error;
  });
  const counts = sim.counts();
  // the device is the whole process's, and so other tests'
  sim.configure(NO_FAULTS);
  const ours = (direction === "encode" ? sent : received).engineCounts;
  const wrong: string[] = [];
  const expect = (what: string, expected: unknown, got: unknown): void => {
    const [left, right] = [JSON.stringify(expected), JSON.stringify(got)];
    if (left !== right) wrong.push(`${what}: expected ${left}, got ${right}`);
  };
  const got = image.memory.get("pc.ram")!;
  expect("the image differs at", -1, pages.findIndex((byte, i) => byte !== got[i]));
  if (ours === undefined) throw new Error("The migration did not count what its device did");
  // QATzip itself waits for a full queue
  if (method === "qpl") expect("busy answers", counts.busy, ours.busyRetries);
  // what QATzip says where a channel's session cannot be set up does not reach us
  const unopened = ours.failures[NOT_OPENED] ?? 0;
  if (unopened > 0) counts.statuses[LOST] = (counts.statuses[LOST] ?? 0) - unopened;
  expect("statuses", fromLibrary(counts.statuses), fromLibrary(ours.failures));
  expect("jobs, threads and sessions left", 0, counts.left);
  return { schedule, sim: counts, ours, wrong };
}

/** The statuses that a library gave, sorted; a wrong length is ours to find. */
function fromLibrary(statuses: Record<string, number>): [string, number][] {
  return Object.entries(statuses)
    .filter(([name, times]) => times > 0 && name !== "wrong length" && name !== NOT_OPENED)
    .sort(([a], [b]) => a < b ? -1 : 1);
}

/** Adds what fired to a histogram. */
export function addFired(histogram: Map<string, number>, outcome: Outcome): void {
  for (const direction of ["encode", "decode"] as const) {
    for (const [i, times] of outcome.sim.fired[direction].entries()) {
      const key = `${FAULTS[i]}, ${direction}`;
      histogram.set(key, (histogram.get(key) ?? 0) + times);
    }
  }
  for (const [status, times] of Object.entries(outcome.sim.statuses)) {
    histogram.set(status, (histogram.get(status) ?? 0) + times);
  }
}
