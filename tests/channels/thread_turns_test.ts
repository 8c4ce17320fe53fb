/** Whose turn it is in a thread of several channels. */
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { nativeIo } from "../../ffi/io.ts";
import { ThreadTurns } from "../../src/channels/thread_turns.ts";
import { connectNatively } from "../../src/transport/native.ts";

const HOST = "127.0.0.1";

/** Connected pairs: what the thread has, and who is at the other end. */
async function pairs(count: number): Promise<{ mine: number[]; theirs: net.Socket[] }> {
  const server = net.createServer().listen({ host: HOST, port: 0 });
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  const mine: number[] = [];
  const theirs: net.Socket[] = [];
  for (let i = 0; i < count; i++) {
    mine.push(connectNatively({ host: HOST, port }, `channel ${i}`, 5000));
    const [socket] = await once(server, "connection") as [net.Socket];
    theirs.push(socket);
  }
  server.close();
  return { mine, theirs };
}

function give(theirs: net.Socket): Promise<void> {
  return new Promise((resolve) => theirs.write("x", () => resolve()));
}

/** Lets whoever may go on do so. */
async function turn(): Promise<void> {
  for (let i = 0; i < 10; i++) await Promise.resolve();
}

function drop({ mine, theirs }: Awaited<ReturnType<typeof pairs>>): void {
  for (const fd of mine) nativeIo().io_close(fd);
  for (const socket of theirs) socket.destroy();
}

test("one channel in a thread never waits for a turn", async () => {
  const ends = await pairs(1);
  const turns = new ThreadTurns(false);
  turns.join(7);
  assertEquals(turns.wait(7, { fd: ends.mine[0]!, hasAhead: false }), undefined);
  drop(ends);
});

test("channels that receive go on when something has come, once nobody works", async () => {
  const ends = await pairs(3);
  const { mine, theirs } = ends;
  const turns = new ThreadTurns(false);
  const gone: number[] = [];
  const wait = (channel: number, hasAhead = false): void => {
    const waited = turns.wait(channel, { fd: mine[channel]!, hasAhead });
    Promise.resolve(waited).then(() => gone.push(channel));
  };
  for (const channel of [0, 1, 2]) turns.join(channel);
  await give(theirs[1]!);
  wait(0);
  wait(1);
  await turn();
  assertEquals(gone, [], "the third is at work");
  wait(2, true);
  await turn();
  assertEquals(gone, [1, 2], "what came, and what had come before");
  turns.rest(1);
  await give(theirs[0]!);
  assertEquals(gone, [1, 2], "the third is at work again");
  turns.leave(2);
  await turn();
  assertEquals(gone, [1, 2, 0]);
  drop(ends);
});

test("a round begins for every channel of the thread", async () => {
  const ends = await pairs(2);
  const turns = new ThreadTurns(false);
  for (const channel of [0, 1]) turns.join(channel);
  for (const channel of [0, 1]) turns.rest(channel);
  turns.begin();
  let hasGone = false;
  Promise.resolve(turns.wait(0, { fd: ends.mine[0]!, hasAhead: true })).then(() => hasGone = true);
  await turn();
  assertEquals(hasGone, false, "the other is about to begin");
  turns.rest(1);
  await turn();
  assertEquals(hasGone, true);
  drop(ends);
});

test("of channels that send, the one that has room and sent last goes on", async () => {
  const ends = await pairs(2);
  const turns = new ThreadTurns(true);
  const gone: number[] = [];
  const wait = (channel: number): void => {
    const waited = turns.wait(channel, { fd: ends.mine[channel]!, hasAhead: false });
    Promise.resolve(waited).then(() => gone.push(channel));
  };
  for (const channel of [0, 1]) turns.rest(channel);
  turns.begin();
  wait(0);
  wait(1);
  await turn();
  assertEquals(gone, [1]);
  wait(1);
  await turn();
  assertEquals(gone, [1, 1]);
  const bytes = new Uint8Array(2 ** 16);
  while (nativeIo().net_send_some(ends.mine[1]!, bytes, bytes.length) > 0);
  wait(1);
  await turn();
  assertEquals(gone, [1, 1, 0], "the other has no room");
  drop(ends);
});
