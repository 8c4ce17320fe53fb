/** A runtime with idle workers and nothing else, for bench/growth.ts: `_idle_workers.ts COUNT`. */
import process from "node:process";
import { isMainThread, parentPort, Worker } from "node:worker_threads";

if (isMainThread) {
  const count = Number(process.argv[2]);
  let ready = 0;
  for (let i = 0; i < count; i++) {
    new Worker(new URL(import.meta.url)).on("message", () => {
      if (++ready === count) console.error("listening on nothing");
    });
  }
} else {
  // a worker that listens stays
  parentPort!.on("message", () => {});
  parentPort!.postMessage("ready");
}
