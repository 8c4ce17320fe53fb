/**
 * What to do with a page when the accelerator's queue is full: compress it in software after
 * three retries, or wait for the queue? One channel on a *simulated* device of a given rate:
 * `deno run -A bench/queue_full.ts [--rate 60] [--depth 16] [--runs 9]`. Published for a real
 * IAA and whole migrations: 14.6 s against 18.4 s. Needs `make -C native-shim sim`.
 */
import { nativeEngine } from "../ffi/engines.ts";
import { print, table } from "../src/cli/output.ts";
import { sumCounts } from "../src/engines/engine.ts";
import { Sim } from "../tests/faults/_sim.ts";
import { mixedPages } from "../tests/migration/_migrate.ts";
import { readOptions } from "./_options.ts";

const PAGE = 4096;
const PACKET_PAGES = 128;
const PACKETS = 32;

const values = readOptions({
  rate: { type: "string", default: "60" },
  depth: { type: "string", default: "16" },
  runs: { type: "string", default: "9" },
});
const runs = Number(values.runs);
const pages = mixedPages(PACKETS * PACKET_PAGES, PAGE, 1);
const sim = new Sim("qpl");
const engine = nativeEngine("iaa-simulated");

interface Policy {
  name: string;
  waitForQueue: boolean;
  times: number[];
  counts: ReturnType<typeof sumCounts>;
}

function run(policy: Policy): void {
  sim.configure(`seed=1 rate=${values.rate} depth=${values.depth} threads=1`);
  const { waitForQueue } = policy;
  const encoder = engine.pageEncoder("deflate-pages", { pageSize: PAGE, level: 1, waitForQueue });
  const size = PACKET_PAGES * PAGE;
  const out = new Uint8Array(size);
  const lengths = new Uint32Array(PACKET_PAGES);
  const start = performance.now();
  for (let i = 0; i < PACKETS; i++) {
    encoder.encode(pages.subarray(i * size, (i + 1) * size), out, lengths);
  }
  policy.times.push(performance.now() - start);
  policy.counts = sumCounts([policy.counts, encoder.counts?.()]);
  encoder.close();
}

const policies: Policy[] = [
  { name: "software after 3 retries", waitForQueue: false, times: [], counts: undefined },
  { name: "wait for the queue", waitForQueue: true, times: [], counts: undefined },
];
for (let i = 0; i < runs; i++) policies.forEach(run);

print(`simulated device of ${values.rate} MB/s, queue of ${values.depth}, median of ${runs}`);
const median = (times: number[]): number => times.toSorted((a, b) => a - b)[times.length >> 1]!;
print(table([
  ["when the queue is full", "time", "min..max", "pages by device", "by software"],
  ...policies.map(({ name, times, counts }) => [
    name,
    `${median(times).toFixed(0)} ms`,
    `${Math.min(...times).toFixed(0)}..${Math.max(...times).toFixed(0)}`,
    String(counts!.devicePages / runs),
    String(counts!.softwarePages / runs),
  ]),
]));
