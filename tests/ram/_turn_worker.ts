/** A thread that takes turns, for write_turn_test.ts. */
import { parentPort } from "node:worker_threads";
import { WriteTurn } from "../../src/ram/write_turn.ts";
import { type Figures, INSIDE, OVERLAPS, READY, TAKEN, type TurnTask } from "./_turn.ts";

const THREADS = 2;
const SPIN = 200;

/** Takes its turns; in each, nobody else may be inside. */
function takeTurns({ id, turn: shared, words: memory, turns }: TurnTask): Figures {
  const turn = new WriteTurn(shared);
  const words = new Int32Array(memory);
  // neither starts before the other has
  Atomics.add(words, READY, 1);
  while (Atomics.load(words, READY) < THREADS);
  let longest = 0;
  for (let i = 0; i < turns; i++) {
    turn.take();
    const start = performance.now();
    if (Atomics.exchange(words, INSIDE, id) !== 0) Atomics.add(words, OVERLAPS, 1);
    for (let j = 0; j < SPIN; j++) {
      if (Atomics.load(words, INSIDE) === id) continue;
      Atomics.add(words, OVERLAPS, 1);
      break;
    }
    Atomics.add(words, TAKEN, 1);
    Atomics.store(words, INSIDE, 0);
    longest = Math.max(longest, performance.now() - start);
    turn.pass();
  }
  return { longest };
}

parentPort!.on("message", (task: TurnTask) => {
  if (task.turns > 0) return parentPort!.postMessage(takeTurns(task));
  new WriteTurn(task.turn).take();
  parentPort!.postMessage({ longest: 0 });
});
