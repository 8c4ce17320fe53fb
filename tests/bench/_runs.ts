/** Runs as the benchmarks record them. */
import type { Run } from "../../bench/_rounds.ts";

/** A run of method none on two channels, with what matters to a test. */
export function makeRun(program: string, time: number, other: Partial<Run> = {}): Run {
  return {
    round: 1,
    place: 0,
    method: "none",
    channels: 2,
    program,
    time,
    wholeTime: time,
    sendCpu: 1,
    receiveCpu: 1,
    bytes: 1000,
    sent: {},
    received: { engine: "none" },
    load: { seconds: 1, others: 0, stolen: 0 },
    ...other,
  };
}
