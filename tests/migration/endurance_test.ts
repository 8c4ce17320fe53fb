/** What must hold over many migrations: `deno task endurance` does more of them. */
import process from "node:process";
import { test } from "node:test";
import { assert } from "@std/assert";
import { MemoryImage } from "../../mod.ts";
import { migrate, sharedPages, TRANSPORTS } from "./_migrate.ts";
import { residentMemory, settledHoldings } from "./_process.ts";

const MIGRATIONS = Number(process.env.MIGRATIONS ?? 25);
const METHODS = ["none", "zlib", "zstd", "qpl", "uadk", "qatzip"];
/** Growth from the second to the last quarter: measured up to 4 MiB, of 25 as of 200. */
const MOST_MIB = 12;

function median(numbers: number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!;
}

for (const transport of TRANSPORTS) {
  test(`${MIGRATIONS} migrations on ${transport} sockets leave no descriptor, thread or memory`, async () => {
    const image = new MemoryImage({ "pc.ram": sharedPages(300, 4096, 1) });
    const options = { transport, engine: "auto" };
    const quarter = MIGRATIONS >> 2;
    const memory: number[] = [];
    const run = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++) {
        const method = METHODS[memory.length % METHODS.length]!;
        const channels = 1 + memory.length % 3;
        await migrate(image, { ...options, method, channels }, options);
        memory.push(residentMemory());
      }
    };
    // the first quarter warms up
    await run(quarter);
    const before = await settledHoldings();
    await run(MIGRATIONS - quarter);
    const after = await settledHoldings();
    const descriptors = [before, after].map((holdings) => holdings.descriptors.length);
    const threads = [before.threads, after.threads];
    const early = median(memory.slice(quarter, 2 * quarter));
    const late = median(memory.slice(-quarter));
    const figures = `descriptors ${descriptors.join(" to ")}, threads ${threads.join(" to ")}, ` +
      `MiB ${early.toFixed(1)} to ${late.toFixed(1)}`;
    console.log(figures);
    assert(descriptors[1]! <= descriptors[0]! + 2, figures);
    assert(threads[1]! <= threads[0]! + 4, figures);
    // a leak of a channel's buffers would be 2 MiB for each of 2 channels each time
    assert(late - early < MOST_MIB, figures);
  });
}
