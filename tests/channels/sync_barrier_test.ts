import { test } from "node:test";
import { assertEquals, assertRejects } from "@std/assert";
import { PeerClosedError, ProtocolError } from "../../mod.ts";
import { SyncBarrier } from "../../src/channels/sync_barrier.ts";

/** Lets everything that can run run. */
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1));

test("SyncBarrier holds the main channel until every channel stands, and each until release", async () => {
  const barrier = new SyncBarrier();
  const order: string[] = [];
  const channels = [1, 0].map((id) => barrier.stop(id).then(() => order.push(`channel ${id}`)));
  const main = barrier.allStopped(3).then(() => order.push("main"));
  await settle();
  assertEquals(order, []);
  assertEquals(barrier.stopped, [0, 1]);
  channels.push(barrier.stop(2).then(() => order.push("channel 2")));
  await main;
  await settle();
  assertEquals(order, ["main"]);
  barrier.release();
  await Promise.all(channels);
  assertEquals(order.slice(1).sort(), ["channel 0", "channel 1", "channel 2"]);
  assertEquals(barrier.stopped, []);
});

test("SyncBarrier fails a marker that a channel which has left owes a SYNC", async () => {
  const barrier = new SyncBarrier();
  barrier.leave(1);
  const error = await assertRejects(() => barrier.allStopped(2), PeerClosedError);
  assertEquals(error.facts.channel, 1);
  const waiting = barrier.allStopped(2);
  barrier.leave(0);
  await assertRejects(() => waiting, PeerClosedError);
});

test("SyncBarrier gives one failure to all who wait and to all who come later", async () => {
  const barrier = new SyncBarrier();
  const waiting = [barrier.stop(0), barrier.allStopped(2)];
  barrier.fail(new ProtocolError("Broken"));
  for (const wait of [...waiting, barrier.stop(1), barrier.allStopped(2)]) {
    await assertRejects(() => wait, ProtocolError, "Broken");
  }
});
