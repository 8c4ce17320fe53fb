/** A thread that gives as much as it may, for backlog_test.ts. */
import { parentPort } from "node:worker_threads";
import { Backlog } from "../../src/channels/backlog.ts";

parentPort!.on("message", ({ shared, given }: Record<string, SharedArrayBuffer>) => {
  const backlog = new Backlog(shared);
  const count = new Int32Array(given!);
  try {
    for (;;) {
      Atomics.add(count, 0, 1);
      backlog.add();
    }
  } catch (error) {
    parentPort!.postMessage((error as Error).name);
  }
});
