/**
 * Processes that are killed at any moment: nothing hangs, what has its name is whole, and the next
 * run clears away the rest. `deno task kill` tries more moments.
 */
import process from "node:process";
import { after, test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { IMAGE_FORMATS } from "../../src/ram/image_format.ts";
import { Random } from "../_random.ts";
import { count } from "../durability/_outcomes.ts";
import { checkSurvivor, ended, Place, RUNTIMES, startPair, type Way } from "./_disturbed.ts";
import { TRANSPORTS } from "./_migrate.ts";

const MOMENTS = Number(process.env.MOMENTS ?? 2);
const SEED = Number(process.env.SEED ?? 1);
const MIB = 2 ** 20;

interface Moment extends Way {
  victim: "sender" | "receiver";
  /** When, in percent of what such a migration takes undisturbed from the first page on. */
  percent: number;
}

/** Moves the image undisturbed; how many milliseconds it took from the first page on. */
async function migrate(place: Place, way: Way): Promise<number> {
  const { send, recv } = await startPair(place, way);
  const startedAt = performance.now();
  const [sent, received] = await ended(send, recv);
  assertEquals([sent!.code, received!.code], [0, 0], sent!.stderr + received!.stderr);
  assertEquals(place.partials, []);
  assert(await place.isWhole());
  place.clear();
  return performance.now() - startedAt;
}

/** Kills one side; what it left. */
async function kill(place: Place, moment: Moment, wait: number): Promise<string> {
  const { send, recv } = await startPair(place, moment);
  const victim = moment.victim === "sender" ? send : recv;
  const timer = setTimeout(() => victim.child.kill("SIGKILL"), wait);
  const [sent, received] = await ended(send, recv);
  clearTimeout(timer);
  checkSurvivor(moment.victim === "sender" ? received! : sent!);
  const isWhole = await place.isWhole();
  // SHUT 0 is a promise, and so is the receiver's exit code
  if (sent!.code === 0 || received!.code === 0) {
    assert(isWhole, "Whole, a side said, and it is not");
  }
  const left = place.partials;
  // the next run must clear that away, whatever became of this one
  const expected = moment.victim === "sender" ? [] : [`vm.partial-${recv.child.pid}`];
  assert(left.length === 0 || left.join() === expected.join(), left.join());
  place.checkImage();
  place.clear();
  if (isWhole) return left.length > 0 ? "whole, with a second name" : "whole";
  return left.length > 0 ? "partial, and called so" : "nothing";
}

// it starts both runtimes itself
if ("Deno" in globalThis) {
  // more moments want more time between them
  const place = new Place((MOMENTS > 2 ? 48 : 24) * MIB, SEED);
  after(() => place.remove());
  const random = new Random(SEED);
  const usual = new Map<string, number>();
  const ends = new Map<string, number>();

  for (let i = 0; i < MOMENTS; i++) {
    const moment: Moment = {
      victim: i % 2 === 0 ? "receiver" : "sender",
      sender: random.pick(RUNTIMES),
      receiver: random.pick(RUNTIMES),
      transport: random.pick(TRANSPORTS),
      format: random.pick(IMAGE_FORMATS),
      percent: random.below(100),
    };
    const { victim, sender, receiver, transport, format, percent } = moment;
    const pair = `${sender} to ${receiver} on ${transport} sockets into a ${format}`;
    test(`${pair}: the ${victim} killed at ${percent} %`, async () => {
      if (!usual.has(pair)) usual.set(pair, await migrate(place, moment));
      const end = await kill(place, moment, usual.get(pair)! * percent / 100);
      ends.set(`${victim}: ${end}`, (ends.get(`${victim}: ${end}`) ?? 0) + 1);
      count(`kill -9 of the ${victim}`, end);
    });
  }

  test("the next run needs nothing cleared away by hand", async () => {
    const runtime = RUNTIMES.at(-1)!;
    const way = { sender: runtime, receiver: runtime, transport: "native" } as const;
    await migrate(place, { ...way, format: "directory" });
  });

  test("processes were killed at different stages", () => {
    for (const [end, times] of ends) console.log(`${times} times ${end}`);
    assert(ends.size > 1 || MOMENTS < 10, "All of the moments were alike");
  });
}
