/** What must hold over many migrations, and over a long one: `deno task soak` has more and longer. */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { MemoryImage, send } from "../../mod.ts";
import {
  migrate,
  mixedPages,
  sharedPages,
  startReceiver,
  temporaryDirectory,
  TRANSPORTS,
} from "./_migrate.ts";
import { holdings, residentMemory, settledHoldings } from "./_process.ts";

const MIGRATIONS = Number(process.env.MIGRATIONS ?? 24);
const SPARSE_GIB = Number(process.env.SPARSE_GIB ?? 0.25);
const METHODS = ["none", "zlib", "zstd", "qpl", "uadk", "qatzip"];
/**
 * Growth from the second to the last quarter, which is half of the migrations: less than a leak of
 * one channel's buffers, 2 MiB, each time. Under Bun other tests leave garbage in this process.
 * Bun keeps 6 KiB of each worker that has opened a shared object, whatever else that did: 35 KiB a
 * migration here.
 */
const MOST_MIB = 20 + MIGRATIONS / 2 * 60 / 1024;
/** Growth while a sparse image streams: buffers of channels, and garbage. */
const MOST_STREAM_MIB = 64;
/** Between looks at what is held while an image streams: some dozens a migration, whatever its size. */
const LOOK_MS = Math.ceil(20 * SPARSE_GIB);
const FEWEST_LOOKS = 8;
/** Opened at the end: the manifest, the device state, directories that are synchronized. */
const MOST_AT_END = 8;
/** After how many migrations what is held is told. */
const MARKS = [100, 500, 1000];

function median(numbers: number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!;
}

for (const transport of TRANSPORTS) {
  test(`${MIGRATIONS} migrations on ${transport} sockets leave no descriptor, thread or memory`, async () => {
    const image = new MemoryImage({ "pc.ram": sharedPages(300, 4096, 1) });
    const options = { transport, engine: "auto" };
    const quarter = MIGRATIONS >> 2;
    const memory: number[] = [];
    const run = async (upTo: number): Promise<void> => {
      while (memory.length < upTo) {
        const method = METHODS[memory.length % METHODS.length]!;
        const channels = 1 + memory.length % 3;
        await migrate(image, { ...options, method, channels }, options);
        memory.push(residentMemory());
        if (!MARKS.includes(memory.length)) continue;
        const { descriptors, threads } = await settledHoldings();
        const mib = memory.at(-1)!.toFixed(1);
        console.log(
          `after ${memory.length} on ${transport} sockets: ${descriptors.length} descriptors, ` +
            `${threads} threads, ${mib} MiB`,
        );
      }
    };
    // the first quarter warms up
    await run(quarter);
    const before = await settledHoldings();
    await run(MIGRATIONS);
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

  test(`a sparse image of ${SPARSE_GIB} GiB on ${transport} sockets needs no more as it goes on`, async () => {
    const directory = temporaryDirectory();
    const file = path.join(directory, "guest.ram");
    const into = path.join(directory, "vm");
    const size = SPARSE_GIB * 2 ** 30;
    const data = mixedPages(8, 4096, 1).fill(1, 0, 10);
    const places = Array.from({ length: 8 }, (_, i) => Math.floor(i * size / 8 / 4096) * 4096);
    const fd = fs.openSync(file, "w");
    fs.ftruncateSync(fd, size);
    for (const at of places) fs.writeSync(fd, data, 0, data.length, at);
    fs.closeSync(fd);
    const held: { descriptors: number; threads: number; memory: number }[] = [];
    const receiver = await startReceiver({ transport, into, hash: "none", engine: "auto" });
    const look = setInterval(() => {
      const { descriptors, threads } = holdings();
      held.push({ descriptors: descriptors.length, threads, memory: residentMemory() });
    }, LOOK_MS);
    const [sent] = await Promise.all([
      send({ image: file, to: receiver.address, transport }),
      receiver.received,
    ]);
    clearInterval(look);
    assertEquals(sent.ram.total, size);
    const copy = path.join(into, "pc.ram");
    assertEquals(fs.statSync(copy).size, size);
    assert(fs.statSync(copy).blocks * 512 < 2 ** 20);
    const read = fs.openSync(copy, "r");
    for (const at of places) {
      const pages = new Uint8Array(data.length);
      fs.readSync(read, pages, 0, pages.length, at);
      assertEquals(pages, data);
    }
    fs.closeSync(read);
    fs.rmSync(directory, { recursive: true });
    // the first looks come while connections are being made
    const first = held[held.length >> 1];
    assert(first !== undefined && held.length >= FEWEST_LOOKS, `${held.length} looks`);
    const most = (name: keyof typeof first): number => Math.max(...held.map((one) => one[name]));
    const figures = `${held.length} looks: descriptors ${first.descriptors}, at most ` +
      `${most("descriptors")}; threads ${first.threads}, at most ${most("threads")}; ` +
      `MiB ${first.memory.toFixed(1)}, at most ${most("memory").toFixed(1)}`;
    console.log(figures);
    assert(most("descriptors") <= first.descriptors + MOST_AT_END, figures);
    assert(most("threads") <= first.threads + 4, figures);
    assert(most("memory") < first.memory + MOST_STREAM_MIB, figures);
  });
}
