import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { runSchedule } from "./_schedule.ts";
import { type DeviceMethod, Sim } from "./_sim.ts";

/** A slice of `deno task faults`. */
const SCHEDULES = 6;

function simOf(method: DeviceMethod): Sim | string {
  try {
    return new Sim(method);
  } catch {
    return `the simulated device of ${method} was not built`;
  }
}

for (const method of ["qpl", "qatzip"] as const) {
  const sim = simOf(method);
  const skip = typeof sim === "string" ? sim : false;
  for (const direction of ["encode", "decode"] as const) {
    test(`${method}: a simulated device misbehaves, ${direction}, images stay identical`, {
      skip,
    }, async () => {
      for (let seed = 1; seed <= SCHEDULES; seed++) {
        const { wrong, schedule } = await runSchedule(sim as Sim, method, direction, seed);
        assertEquals(wrong, [], schedule);
      }
    });
  }
}
