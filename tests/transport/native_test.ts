/** What a blocking connection reads ahead must not be seen from outside. */
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { nativeIo } from "../../ffi/io.ts";
import { parseAddress } from "../../src/transport/address.ts";
import { PeerClosedError } from "../../src/errors.ts";
import type { Connection } from "../../src/transport/connection.ts";
import {
  BlockingConnection,
  connectNatively,
  nativePlace,
  PolledConnection,
} from "../../src/transport/native.ts";
import { connectPolled, isNumeric } from "../../src/transport/native_connect.ts";
import { listenNatively } from "../../src/transport/native_listener.ts";
import { same } from "../methods/_pages.ts";
import { Random } from "../_random.ts";

/** Below what the sockets' own buffers hold, so that no write waits for a read in this thread. */
const MOST_UNREAD = 60_000;
/** Around the room ahead of a read, 1344 bytes, and packets' sizes. */
const SIZES = [1, 2, 17, 255, 512, 1343, 1344, 1345, 2688, 4096, 20_000];

const UNIX = `unix:${path.join(os.tmpdir(), `multifd-${process.pid}`)}`;

interface Pair {
  reader: BlockingConnection;
  writer: BlockingConnection;
  close(): void;
}

/** Two connections of this thread, to each other. */
async function connectPair(): Promise<Pair> {
  const accepted = Promise.withResolvers<Connection>();
  const address = { host: "127.0.0.1", port: 0 };
  const listener = listenNatively(address, accepted.resolve, accepted.reject);
  const port = Number(listener.address.split(":").at(-1));
  const writer = new BlockingConnection(connectNatively({ ...address, port }, "w", 5000), "writer");
  const connection = await accepted.promise;
  listener.close();
  assert(connection instanceof PolledConnection);
  const reader = new BlockingConnection(connection.fd, "reader");
  return {
    reader,
    writer,
    close: () => [reader, writer].forEach(({ fd }) => nativeIo().io_close(fd)),
  };
}

for (const seed of [1, 2, 3, 4]) {
  test(`BlockingConnection.read() gives what was written, whatever the split, seed ${seed}`, async () => {
    const { reader, writer, close } = await connectPair();
    const random = new Random(seed);
    const stream = random.bytes(1_000_000);
    let [written, read] = [0, 0];
    const size = (most: number): number =>
      Math.min(most, random.below(2) === 0 ? random.pick(SIZES) : 1 + random.below(3000));
    while (read < stream.length) {
      const room = Math.min(MOST_UNREAD - (written - read), stream.length - written);
      if (room > 0 && (written === read || random.below(2) === 0)) {
        const first = stream.subarray(written, written += size(room));
        const more = stream.subarray(written, written += size(room - first.length));
        writer.write(first, random.below(2) === 0 && more.length === 0 ? undefined : more);
        assertEquals(writer.bytesWritten, written);
        continue;
      }
      const into = new Uint8Array(size(written - read));
      assertEquals(reader.read(into), into.length);
      assert(same(into, stream.subarray(read, read + into.length)), `from ${read}`);
      read += into.length;
      assertEquals(reader.bytesRead, read);
    }
    close();
  });
}

for (const left of [0, 1, 1343, 1344, 1345, 5000]) {
  test(`BlockingConnection.read() is short by what is missing with ${left} bytes before the end`, async () => {
    const { reader, writer, close } = await connectPair();
    const stream = new Random(left).bytes(100 + left);
    writer.write(stream);
    writer.end();
    assertEquals(reader.read(new Uint8Array(100)), 100);
    assertEquals(reader.bytesRead, 100);
    const into = new Uint8Array(left + 50);
    assertEquals(reader.read(into), left);
    assertEquals(into.subarray(0, left), stream.subarray(100));
    assertEquals(into.subarray(left), new Uint8Array(50));
    assertEquals([reader.read(into), reader.read(into)], [0, 0]);
    assertEquals(reader.readSome(), undefined);
    assertEquals(reader.bytesRead, stream.length);
    close();
  });
}

test("BlockingConnection.read() at the end gives what was read ahead first", async () => {
  const { reader, writer, close } = await connectPair();
  writer.write(Uint8Array.of(1, 2, 3, 4, 5));
  writer.end();
  assertEquals(reader.read(new Uint8Array(1)), 1);
  assertEquals(reader.readSome(), Uint8Array.of(2));
  const into = new Uint8Array(2);
  assertEquals([reader.read(into), ...into], [2, 3, 4]);
  assertEquals([reader.read(into), into[0]], [1, 5]);
  assertEquals(reader.read(into), 0);
  assertEquals(reader.bytesRead, 5);
  close();
});

test("thread_is_alive() knows this thread from one that is not there", () => {
  const io = nativeIo();
  assertEquals(io.thread_is_alive(io.thread_begin()), 1);
  assertEquals(io.thread_is_alive(2 ** 31 - 1), 0);
});

test("listenNatively() looks for nobody while a thread waits, and for all once it has seen one", async () => {
  const [begun, arrived] = [Promise.withResolvers<number>(), Promise.withResolvers<void>()];
  const connections: Connection[] = [];
  const both = Promise.withResolvers<void>();
  const listener = listenNatively(
    { host: "127.0.0.1", port: 0 },
    (connection) => {
      if (connections.push(connection) === 2) both.resolve();
    },
    both.reject,
    async (socket, begin) => {
      assert(begin());
      begun.resolve(socket);
      await arrived.promise;
    },
  );
  const address = parseAddress(listener.address);
  const sockets = [connectNatively(address, "first", 5000)];
  // the thread would return at once
  assertEquals(
    nativeIo().net_poll(Int32Array.of(await begun.promise), 1, 0, 1, new Uint8Array(1)),
    1,
  );
  assertEquals(connections.length, 0);
  arrived.resolve();
  sockets.push(connectNatively(address, "second", 5000));
  await both.promise;
  listener.close();
  for (const connection of connections) connection.destroy();
  for (const socket of sockets) nativeIo().io_close(socket);
});

for (const address of ["127.0.0.1:0", UNIX]) {
  test(`a thread that waits for a connection to ${address.split(":")[0]} wakes when nobody is wanted any more`, async () => {
    const ended = Promise.withResolvers<number>();
    const closed = Promise.withResolvers<void>();
    const listener = listenNatively(
      parseAddress(address),
      () => {},
      () => {},
      async (socket, begin) => {
        assert(begin());
        await closed.promise;
        // blocks for ever where the socket is only closed
        ended.resolve(nativeIo().net_poll(Int32Array.of(socket), 1, 0, 1, new Uint8Array(1)));
      },
    );
    listener.close();
    closed.resolve();
    assertEquals(await ended.promise, 1);
  });
}

for (const to of ["127.0.0.1:0", UNIX]) {
  test(`connectPolled() connects to ${to.split(":")[0]}, and its connection does not block`, async () => {
    const accepted = Promise.withResolvers<Connection>();
    const listener = listenNatively(parseAddress(to), accepted.resolve, accepted.reject);
    const address = parseAddress(listener.address);
    assert(isNumeric(address));
    const mine = await connectPolled(address, "mine", new AbortController().signal);
    const theirs = await accepted.promise;
    await mine.write(Uint8Array.of(1, 2), Uint8Array.of(3));
    const read = new Uint8Array(3);
    assertEquals(await theirs.read(read), 3);
    assertEquals(read, Uint8Array.of(1, 2, 3));
    const answer = mine.readSome();
    await theirs.write(Uint8Array.of(4));
    assertEquals(await answer, Uint8Array.of(4));
    assertEquals([mine.bytesWritten, mine.bytesRead], [3, 1]);
    listener.close();
    for (const connection of [mine, theirs]) connection.destroy();
    const refused = await assertRejects(
      () => connectPolled(address, "main channel", new AbortController().signal),
      PeerClosedError,
    );
    assertMatch(refused.message, /Cannot connect main channel to .*(ECONNREFUSED|ENOENT)/);
  });
}

test("connectPolled() waits for room in a listener's queue, until it is told to give up", async () => {
  const listener = listenNatively(parseAddress(UNIX), () => {}, () => {});
  const address = parseAddress(listener.address);
  const cancel = new AbortController();
  // nobody accepts before this thread has its turn
  const begun: number[] = [];
  for (let fd = 0; fd >= 0;) {
    fd = nativeIo().net_connect_begin(...nativePlace(address));
    if (fd >= 0) begun.push(fd);
  }
  const late = connectPolled(address, "late", new AbortController().signal);
  const given = connectPolled(address, "given up", cancel.signal);
  const reason = new Error("enough");
  cancel.abort(reason);
  assertEquals(await given.catch((error) => error), reason);
  (await late).destroy();
  listener.close();
  for (const fd of begun) nativeIo().io_close(fd);
});

test("isNumeric() knows a host's name from its number", () => {
  const hosts = ["localhost:1", "host.example:1", "a1:1", "10.0.0.1:1", "[fe80::1%eth0]:1"];
  assertEquals(hosts.map((host) => isNumeric(parseAddress(host))), [
    false,
    false,
    false,
    true,
    true,
  ]);
});
