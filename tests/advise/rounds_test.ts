import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { predict, type Prediction } from "../../src/advise/model.ts";
import type { CodecCosts } from "../../src/advise/pass.ts";
import { dirtyAfter, type DirtyLoad, DOWNTIME_LIMIT } from "../../src/advise/rounds.ts";
import { assertNear, GIB, PIPE } from "./_coefficients.ts";

const HALF: CodecCosts = {
  left: 0.5,
  encode: { thread: 0.2e-9, cpu: 0.2e-9 },
  decode: { thread: 0.2e-9, cpu: 0.2e-9 },
};
const PLAIN: CodecCosts = {
  left: 1,
  encode: { thread: 0, cpu: 0 },
  decode: { thread: 0, cpu: 0 },
};

/** 8 GiB over 10 Gbit/s: about 1.2 GB/s of plain pages. */
function run(megabytes: number, workingSet: number, codec = PLAIN): Prediction {
  const load: DirtyLoad = {
    bytesPerSecond: megabytes * 1e6,
    workingSet,
    downtimeLimit: DOWNTIME_LIMIT,
  };
  return predict({
    guest: { bytes: 8 * GIB, pageSize: 4096, zero: 0 },
    codec,
    pipe: PIPE,
    hosts: { sourceCores: 8, destinationCores: 8 },
    link: { bitsPerSecond: 10e9 },
    channels: 4,
    load,
  });
}

test("dirtyAfter() grows as fast as the guest writes, and never beyond its working set", () => {
  const load = { bytesPerSecond: 1e9, workingSet: 1e9, downtimeLimit: 0.3 };
  assertNear(dirtyAfter(load, 0.001), 1e6, 1e3);
  assertNear(dirtyAfter(load, 60), 1e9, 1);
  assertEquals(dirtyAfter({ ...load, workingSet: 0 }, 60), 0);
});

test("predict() ends after few rounds with a guest that writes little", () => {
  const { converges, rounds, downtime, totalTime } = run(50, 8 * GIB);
  assertEquals(converges, true);
  assert(rounds >= 2 && rounds <= 5, `${rounds} rounds`);
  assert(downtime! <= 1000 * DOWNTIME_LIMIT);
  assert(totalTime! > run(1, 8 * GIB).totalTime!);
});

test("predict() never ends with a guest that writes faster than the link carries", () => {
  const { converges, totalTime, downtime } = run(2000, 8 * GIB);
  assertEquals([converges, totalTime, downtime], [false, undefined, undefined]);
});

test("predict() ends with a fast writer whose working set fits the downtime", () => {
  const { converges, downtime } = run(2000, 0.2 * 1e9);
  assertEquals(converges, true);
  assert(downtime! <= 1000 * DOWNTIME_LIMIT);
});

test("predict() ends with compression where it would not without", () => {
  assertEquals(run(1500, 4 * GIB).converges, false);
  assertEquals(run(1500, 4 * GIB, HALF).converges, true);
});

test("predict() sends less than QEMU allows in the downtime: pages count as they are in memory", () => {
  const { downtime } = run(1000, 4 * GIB, HALF);
  assert(downtime! <= 1000 * DOWNTIME_LIMIT * HALF.left * 1.2, `${downtime} ms`);
});
