import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { assert, assertEquals } from "@std/assert";
import { Backlog } from "../../src/channels/backlog.ts";

/** As many may be under way; the next one waits. */
const MOST = 256;

const sleep = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

test("Backlog has a thread wait for another, and not for one that takes no more", async () => {
  const backlog = new Backlog();
  const given = new SharedArrayBuffer(4);
  const count = new Int32Array(given);
  const worker = new Worker(new URL("./_backlog_worker.ts", import.meta.url));
  const ended = once(worker, "message");
  worker.postMessage({ shared: backlog.shared, given });
  const reaches = async (expected: number): Promise<void> => {
    while (Atomics.load(count, 0) < expected) await sleep(5);
    // one that did not wait would be far beyond by then
    await sleep(50);
    assertEquals(Atomics.load(count, 0), expected);
  };
  await reaches(MOST + 1);
  for (let i = 0; i < 1000; i++) {
    backlog.done();
    if (i % 100 === 0) await sleep(1);
  }
  await reaches(MOST + 1 + 1000);
  backlog.stop();
  const [name] = await ended;
  assertEquals(name, "CancelledError");
  // what is still under way is of no matter
  backlog.done();
  assert(Atomics.load(new Int32Array(backlog.shared), 0) < 0);
  await worker.terminate();
});
