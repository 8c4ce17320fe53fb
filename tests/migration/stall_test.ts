/** A thread that stood still has not seen yet what came meanwhile: nobody pays for that. */
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { TimedOutError } from "../../mod.ts";
import { Arrivals } from "../../src/migration/arrivals.ts";
import { Lifeline } from "../../src/migration/lifeline.ts";
import { encodeGreeting } from "../../src/protocol/greeting.ts";
import { connect, listen, SocketConnection } from "../../src/transport/runtime.ts";

const IDLE = { activity: () => 0, waitingFor: () => "nothing" };
const LOCAL = { host: "127.0.0.1", port: 0 };

/** Keeps the thread. */
function stall(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

test("a connection that greeted while the thread stood still is no stranger's", async () => {
  const greeting = encodeGreeting({ id: 3, uuid: new Uint8Array(16) });
  const server = net.createServer().listen(LOCAL);
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  const client = net.connect({ ...LOCAL, port });
  const [socket] = await once(server, "connection") as [net.Socket];
  const arrivals = new Arrivals({ limit: 10, timeout: 100, hasMain: () => true, warn: () => {} });
  const types: string[] = [];
  const taken = arrivals.take(new SocketConnection(socket, "one"), ({ type }) => types.push(type));
  client.write(greeting);
  stall(300);
  await taken;
  client.destroy();
  server.close();
  assertEquals(types, ["multifd"]);
});

test("what moved while the thread stood still keeps a migration alive", async () => {
  let moved = 0;
  const lifeline = new Lifeline({ ...IDLE, timeout: 1000, activity: () => moved });
  // the first tick has been, and the next comes late
  await sleep(300);
  stall(1500);
  const told = sleep(20).then(() => moved++);
  assertEquals(await lifeline.guard(told.then(() => sleep(300, "alive"))), "alive");
  lifeline.close();
});

test("a migration without progress still ends", async () => {
  const lifeline = new Lifeline({ ...IDLE, timeout: 500 });
  await assertRejects(() => lifeline.guard(new Promise(() => {})), TimedOutError, "0.5 s");
  lifeline.close();
});

test("a sender that nobody holds up lets its thread do other things", async () => {
  let received = 0;
  const serve = async (connection: { read(into: Uint8Array): unknown }): Promise<void> => {
    while (await connection.read(new Uint8Array(1)) === 1) received++;
  };
  const listener = await listen(LOCAL, (connection) => void serve(connection), () => {});
  const port = Number(listener.address.split(":").at(-1));
  const sender = await connect({ ...LOCAL, port }, "sender", new AbortController().signal);
  // the kernel takes all of it at once
  for (let i = 0; i < 100; i++) {
    stall(1);
    await sender.write(Uint8Array.of(i));
  }
  const seen = received;
  sender.destroy();
  listener.close();
  assert(seen > 0, "nothing was received before everything was sent");
});
