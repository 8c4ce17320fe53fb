/**
 * Migrations over simulated devices that misbehave, by seeded schedules:
 * `deno task faults [--seed 1] [--schedules 1000] [--method qpl,qatzip]`.
 *
 * Each schedule runs for each method with the device on the sending side, and then on the
 * receiving side. It ends with a histogram of what fired; a fault that never did is an error.
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { setUp } from "../_tools.ts";
import { addFired, runSchedule } from "./_schedule.ts";
import { type DeviceMethod, FAULTS, Sim } from "./_sim.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    schedules: { type: "string", default: "1000" },
    method: { type: "string", default: "qpl,qatzip" },
  },
});
const [seed, schedules] = [Number(values.seed), Number(values.schedules)];
if (!Number.isInteger(seed) || !Number.isInteger(schedules) || schedules < 1) {
  console.error("faults: --seed and --schedules are whole numbers");
  process.exit(2);
}

setUp();
let failures = 0;
for (const method of values.method.split(",") as DeviceMethod[]) {
  const sim = new Sim(method);
  for (const direction of ["encode", "decode"] as const) {
    const histogram = new Map<string, number>();
    for (let i = 0; i < schedules; i++) {
      const problems = await runSchedule(sim, method, direction, seed + i).then(
        (outcome) => {
          addFired(histogram, outcome);
          return outcome.wrong;
        },
        (error: Error) => [error.message],
      );
      if (problems.length === 0) continue;
      failures++;
      console.log(`FAILED ${method}, ${direction}, seed ${seed + i}: ${problems.join("; ")}`);
    }
    console.log(`${method}, ${direction}: ${schedules} schedules on a simulated device`);
    for (const [what, times] of [...histogram].sort(([a], [b]) => a < b ? -1 : 1)) {
      if (times > 0) console.log(`  ${String(times).padStart(8)}  ${what}`);
    }
    for (const fault of FAULTS) {
      if ((histogram.get(`${fault}, ${direction}`) ?? 0) > 0) continue;
      failures++;
      console.log(`FAILED: "${fault}" never fired, take more schedules`);
    }
  }
}
console.log(failures === 0 ? "all images identical" : `${failures} failures`);
process.exit(failures === 0 ? 0 : 1);
