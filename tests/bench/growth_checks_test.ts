import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { growthChecks, type GrowthRun, type Measured } from "../../bench/_growth_checks.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;

function makeRun(channels: number, gib: number, time: number, peak: number): GrowthRun {
  const load = { seconds: 1, others: 0, stolen: 0 };
  const [runtime, method] = ["deno", "none"];
  const bytes = gib * GIB;
  return {
    runtime,
    method,
    channels,
    bytes,
    round: 0,
    time,
    sendPeak: peak,
    receivePeak: peak,
    receiveHalfway: 100 * MIB,
    load,
  };
}

/** 2 channels take a second a GiB and 100 MiB, each more 10 MiB, of which 8 are the runtime's. */
function measured(large: GrowthRun): Measured {
  const runs = [makeRun(2, 1, 1000, 100 * MIB), makeRun(16, 1, 1200, 240 * MIB), large];
  const load = { seconds: 1, others: 0, stolen: 0 };
  return {
    migrations: runs,
    starts: [{ runtime: "deno", round: 1, firstPage: 151, listening: 90, load }],
    rates: [99, 97].map((mib, i) => ({
      runtime: "deno",
      method: i === 0 ? "none" : "zstd",
      round: 1,
      limit: 100 * MIB,
      bytes: mib * MIB,
      time: 1000,
      load,
    })),
    workers: new Map([["deno", 8 * MIB]]),
    size: GIB,
    large: 16 * GIB,
    few: 2,
    many: 16,
  };
}

function figures(large: GrowthRun): Record<string, [median: number, verdict: string]> {
  const checks = growthChecks(measured(large));
  return Object.fromEntries(
    checks.map((
      { what, value, verdict },
    ) => [what, [Math.round(value.median * 100) / 100, verdict]]),
  );
}

test("growthChecks() counts a channel's memory without the runtime's own workers", () => {
  const checks = figures(makeRun(2, 16, 16_000, 100 * MIB));
  assertEquals(checks["sender, a channel above the runtime's own workers"], [2, "met"]);
  assertEquals(checks["the runtime's own workers, a channel"], [8, "none"]);
});

test("growthChecks() compares seconds per GiB, and channels at the same size", () => {
  const checks = figures(makeRun(2, 16, 17_600, 100 * MIB));
  assertEquals(checks["time per GiB, 16 GiB against 1 GiB"], [1.1, "met"]);
  assertEquals(checks["time, 16 channels against 2"], [1.2, "missed"]);
  assertEquals(checks["send, start to first page"], [151, "missed"]);
});

test("growthChecks() takes a rate limit as held within two percent either way", () => {
  const checks = growthChecks(measured(makeRun(2, 16, 16_000, 100 * MIB)));
  const rates = checks.filter(({ what }) => what === "rate, of a limit of 100 MiB/s");
  assertEquals(rates.map(({ value, verdict }) => [value.median, verdict]), [
    [0.99, "met"],
    [0.97, "missed"],
  ]);
});

test("growthChecks() notices a receiver that keeps a part of the image", () => {
  const checks = figures(makeRun(2, 16, 16_000, 130 * MIB));
  assertEquals(checks["receiver, a GiB more of image"], [2, "missed"]);
  assertEquals(checks["receiver, a GiB of the second half"], [3.75, "missed"]);
});

test("growthChecks() does not call memory noisy because others compute", () => {
  const large = makeRun(2, 16, 16_000, 100 * MIB);
  const busy = measured(large);
  for (const run of busy.migrations) run.load.others = 0.5;
  const verdicts = growthChecks(busy).map(({ unit, verdict }) => `${unit} ${verdict}`);
  assertEquals(verdicts, [
    "x too noisy",
    "x too noisy",
    "MiB met",
    "MiB met",
    "MiB met",
    "MiB met",
    "x met",
    "x missed",
    "ms missed",
    "ms none",
    "MiB none",
  ]);
});
