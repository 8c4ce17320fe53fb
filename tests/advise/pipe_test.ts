import { test } from "node:test";
import { assertEquals } from "@std/assert";
import {
  asQemuPipe,
  type CalibrationRun,
  fitPipe,
  type SideCosts,
  TYPICAL,
} from "../../src/advise/pipe.ts";
import { assertNear } from "./_coefficients.ts";

const SEND: SideCosts = { fixed: 0.02, perPage: 4e-7, perDataPage: 1e-7, perWireByte: 2e-10 };
const RECEIVE: SideCosts = { fixed: 0.03, perPage: 2e-7, perDataPage: 9e-7, perWireByte: 1e-10 };
const CODEC = { encode: 3e-7, decode: 2e-7 };

/** A run that costs exactly what it should, one that was lucky, and one that was disturbed. */
function runsOf(
  pages: number,
  hasData: boolean,
  wireBytes: number,
  codec = { encode: 0, decode: 0 },
) {
  const cpu = (costs: SideCosts, perPage: number): number =>
    costs.fixed + pages * (costs.perPage + perPage + (hasData ? costs.perDataPage : 0)) +
    wireBytes * costs.perWireByte;
  return [0.9, 1, 1.7].map((disturbed): CalibrationRun => ({
    pages,
    wireBytes,
    sendCpu: disturbed * cpu(SEND, codec.encode),
    receiveCpu: disturbed * cpu(RECEIVE, codec.decode),
    time: disturbed *
      (0.04 + pages * (RECEIVE.perPage + RECEIVE.perDataPage + 4106 * RECEIVE.perWireByte)),
  }));
}

test("fitPipe() finds the costs that runs were made with, whatever disturbed some of them", () => {
  const runs = {
    small: runsOf(8192, true, 8192 * 4106),
    zero: runsOf(131072, false, 0),
    packed: runsOf(131072, true, 0, CODEC),
    plain: runsOf(131072, true, 131072 * 4106),
  };
  const pipe = fitPipe(runs, CODEC, true);
  for (const [found, made] of [[pipe.send, SEND], [pipe.receive, RECEIVE]] as const) {
    for (const name of ["fixed", "perPage", "perDataPage", "perWireByte"] as const) {
      assertNear(found[name] / made[name], 1, 1e-6);
    }
  }
  assertNear(pipe.setup, 0.04, 1e-6);
  assertEquals([pipe.origin, pipe.isThreaded], ["measured", true]);
});

test("fitPipe() never finds that something costs less than nothing", () => {
  const idle = (pages: number, wireBytes: number): CalibrationRun[] => [
    { pages, wireBytes, sendCpu: 0.01, receiveCpu: 0.01, time: 0.01 },
  ];
  const runs = {
    small: idle(8192, 0),
    zero: idle(131072, 0),
    packed: idle(131072, 0),
    plain: idle(131072, 5e8),
  };
  const { send, receive, setup } = fitPipe(runs, CODEC, true);
  for (const cost of [setup, ...Object.values(send), ...Object.values(receive)]) {
    assertEquals(cost >= 0, true);
  }
});

test("asQemuPipe() makes a QEMU as much slower as this machine is", () => {
  const slower = {
    ...TYPICAL,
    send: twice(TYPICAL.send),
    receive: twice(TYPICAL.receive),
  };
  const [typical, scaled] = [asQemuPipe(TYPICAL), asQemuPipe(slower)];
  assertNear(scaled.send.perPage, 2 * typical.send.perPage, 1e-12);
  assertNear(scaled.receive.perWireByte, 2 * typical.receive.perWireByte, 1e-15);
});

function twice(costs: SideCosts): SideCosts {
  return {
    fixed: 2 * costs.fixed,
    perPage: 2 * costs.perPage,
    perDataPage: 2 * costs.perDataPage,
    perWireByte: 2 * costs.perWireByte,
  };
}
