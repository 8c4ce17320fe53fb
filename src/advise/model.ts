/** What a migration will take: coefficients in, seconds out. Nothing is measured here. */
import { type Bottleneck, passOver, type Way } from "./pass.ts";
import { type DirtyLoad, runRounds } from "./rounds.ts";

/** All that a prediction is made of. */
export interface Scenario extends Way {
  /** What the guest writes meanwhile; undefined if it is paused. */
  load?: DirtyLoad | undefined;
}

/** What is predicted of a migration. */
export interface Prediction {
  /** From the first connection to all pages held, in milliseconds; undefined if it never ends. */
  totalTime: number | undefined;
  /** How long the guest stands still, in milliseconds; undefined without a load. */
  downtime: number | undefined;
  /** Whether it ends. */
  converges: boolean;
  /** Passes over dirty pages, the first over all RAM included. */
  rounds: number;
  /** Bytes on the wire; of the first pass if it never ends. */
  bytes: number;
  /** Throughput on the wire in megabits per second. */
  mbps: number;
  /** Pages of guest RAM per second. */
  pagesPerSecond: number;
  /** CPU of the sender, in percent of one core. */
  sendCpu: number;
  /** CPU of the receiver, in percent of one core. */
  receiveCpu: number;
  /** CPU seconds of both. */
  cpuSeconds: number;
  /** What holds it up. */
  bottleneck: Bottleneck;
  /** Seconds that each would need for the first pass by itself. */
  needs: Record<Bottleneck, number>;
}

/** Predicts a migration. */
export function predict(scenario: Scenario): Prediction {
  const { guest, pipe, load } = scenario;
  const pages = guest.bytes / guest.pageSize;
  const first = passOver(scenario, pages, guest.zero);
  const rounds = runRounds(first, load, guest, (pages) => passOver(scenario, pages, 0));
  const seconds = pipe.setup + rounds.seconds;
  const sendCpu = pipe.send.fixed + rounds.sendCpu;
  const receiveCpu = pipe.receive.fixed + rounds.receiveCpu;
  return {
    totalTime: rounds.converges ? seconds * 1000 : undefined,
    downtime: load === undefined || !rounds.converges ? undefined : rounds.downtime * 1000,
    converges: rounds.converges,
    rounds: rounds.count,
    bytes: rounds.bytes,
    mbps: rounds.bytes * 8 / 1e6 / seconds,
    pagesPerSecond: rounds.pages / seconds,
    sendCpu: 100 * sendCpu / seconds,
    receiveCpu: 100 * receiveCpu / seconds,
    cpuSeconds: sendCpu + receiveCpu,
    bottleneck: first.bottleneck,
    needs: first.needs,
  };
}
