import { test } from "node:test";
import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { median, spreadOf } from "../../bench/_statistics.ts";
import { type Limits, summarize, verdictOf } from "../../bench/_summary.ts";
import { makeRun } from "./_runs.ts";

const WALL: Limits = { wall: { atMost: 0.9 } };

test("median() is the middle of an odd number of figures, in any order", () => {
  assertEquals(median([9, 1, 5]), 5);
  assertEquals(spreadOf([9, 1, 5]), { median: 5, min: 1, max: 9 });
  assertThrows(() => median([]), RangeError);
});

test("verdictOf() takes the limit itself as met", () => {
  assertEquals(verdictOf(0.9, { atMost: 0.9 }), "met");
  assertEquals(verdictOf(0.91, { atMost: 0.9 }), "missed");
  assertEquals(verdictOf(0.8, { atLeast: 0.8 }), "met");
  assertEquals(verdictOf(0.79, { atLeast: 0.8 }), "missed");
  assertEquals(verdictOf(1 + 4 / 2 ** 30, { atMost: 1 }), "met");
  assertEquals(verdictOf(1.0001, { atMost: 1 }), "missed");
  assertEquals(verdictOf(7, {}), "none");
});

test("summarize() compares runs of the same round, not medians", () => {
  // the machine is half as fast from round to round: every ratio stays 0.5
  const times = [100, 120, 140];
  const runs = times.flatMap((time) => [makeRun("QEMU", time), makeRun("deno", time / 2)]);
  const [qemu, deno] = summarize(runs, "QEMU", () => WALL);
  assertEquals(qemu!.ratios, {});
  assertEquals(deno!.time, { median: 60, min: 50, max: 70 });
  assertEquals(deno!.ratios.wall, { median: 0.5, min: 0.5, max: 0.5, atMost: 0.9, verdict: "met" });
});

test("summarize() gives what is compared by its names: speed is the reciprocal of wall", () => {
  const mine = makeRun("deno", 200, { sendCpu: 2, receiveCpu: 4, bytes: 500 });
  const limits = { wall: {}, speed: {}, cpu: {}, bytes: {} };
  const { ratios } = summarize([makeRun("C", 100), mine], "C", () => limits)[1]!;
  const medians = Object.entries(ratios).map(([name, ratio]) => [name, ratio.median]);
  assertEquals(Object.fromEntries(medians), { wall: 2, speed: 0.5, cpu: 3, bytes: 0.5 });
});

test("summarize() does not count what was measured while the reference was unsteady", () => {
  const runs = [100, 100, 200].flatMap((time) => [makeRun("QEMU", time), makeRun("deno", 50)]);
  const deno = summarize(runs, "QEMU", () => WALL)[1]!;
  assertMatch(deno.noise!, /^QEMU itself spreads by 100 %$/);
  assertEquals(deno.ratios.wall!.verdict, "too noisy");
});

test("summarize() does not count what was measured while others used the machine", () => {
  const load = { seconds: 1, others: 0.3, stolen: 0 };
  const runs = [makeRun("QEMU", 100, { load }), makeRun("deno", 50, { load })];
  const deno = summarize(runs, "QEMU", () => WALL)[1]!;
  assertEquals(deno.noise, "others used 30 %");
  assertEquals(deno.ratios.wall!.verdict, "too noisy");
});

test("summarize() leaves ratios out where the reference does not know the method", () => {
  const runs = [makeRun("QEMU", 100), makeRun("deno", 50, { method: "qpl" })];
  const qpl = summarize(runs, "QEMU", () => WALL)[1]!;
  assertEquals([qpl.method, qpl.ratios, qpl.noise], ["qpl", {}, undefined]);
});
