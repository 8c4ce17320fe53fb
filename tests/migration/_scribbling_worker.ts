/** A thread that writes to memory while others read it, for changing_image_test.ts. */
import process from "node:process";
import { parentPort } from "node:worker_threads";

parentPort!.once("message", ({ pages, state }: Record<string, SharedArrayBuffer>) => {
  const words = new Uint32Array(pages!);
  // how often it wrote, and whether it is to end
  const [rounds, isOver] = [0, 1];
  const shared = new Int32Array(state!);
  for (let at = 1; Atomics.load(shared, isOver) === 0; at = (at * 1664525 + 1013904223) >>> 0) {
    words[at % words.length] = at;
    Atomics.add(shared, rounds, 1);
  }
  process.exit();
});
