import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { assert, assertEquals } from "@std/assert";
import { WriteTurn } from "../../src/ram/write_turn.ts";
import { type Figures, OVERLAPS, TAKEN, type TurnTask, WORDS } from "./_turn.ts";

/** Beyond this the others go on without their turn, in milliseconds. */
const PATIENCE_MS = 100;
const TURNS = 20_000;

/** Runs a task in a thread, which is then ended in whatever it holds. */
async function inThread(task: TurnTask): Promise<Figures> {
  const worker = new Worker(new URL("./_turn_worker.ts", import.meta.url));
  const answer = once(worker, "message");
  worker.postMessage(task);
  const [figures] = await answer;
  await worker.terminate();
  return figures;
}

test("WriteTurn lets one of two threads in at a time", async () => {
  const turn = new WriteTurn().shared;
  const words = new SharedArrayBuffer(4 * WORDS);
  const figures = await Promise.all(
    [1, 2].map((id) => inThread({ id, turn, words, turns: TURNS })),
  );
  const counts = new Int32Array(words);
  assertEquals(counts[TAKEN], 2 * TURNS);
  // a thread that a busy machine puts aside in its turn is overtaken, as it should be
  const longest = Math.max(...figures.map((figure) => figure.longest));
  assert(counts[OVERLAPS] === 0 || longest >= PATIENCE_MS, `${counts[OVERLAPS]} ${longest}`);
  assertEquals(new Int32Array(turn)[0], 0, "nobody has the turn in the end");
});

test("WriteTurn is had in spite of a thread that ended in its own turn", async () => {
  const turn = new WriteTurn();
  const words = new SharedArrayBuffer(4 * WORDS);
  await inThread({ id: 1, turn: turn.shared, words, turns: 0 });
  const word = new Int32Array(turn.shared);
  assert(word[0] !== 0, "the turn was not passed");
  turn.take();
  turn.pass();
  assertEquals(word[0], 0, "the turn is free again");
  await inThread({ id: 2, turn: turn.shared, words: words.slice(0), turns: 0 });
  assert(word[0] !== 0, "the next thread has it");
});
