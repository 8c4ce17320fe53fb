/** A listener that is drained has handed out everyone who had connected by then. */
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { nativeIo } from "../../ffi/io.ts";
import type { Connection, Listener } from "../../src/transport/connection.ts";
import { connectNatively } from "../../src/transport/native.ts";
import { listenNatively } from "../../src/transport/native_listener.ts";
import { listen } from "../../src/transport/runtime.ts";

const ADDRESS = { host: "127.0.0.1", port: 0 };
/** Until a listener looks for latecomers as seldom as it ever does. */
const LATE_MS = 400;
/** Longer than a listener must be quiet to count as drained. */
const STALL_MS = 80;

const LISTEN = { native: listenNatively, runtime: listen };

for (const [name, listenThere] of Object.entries(LISTEN)) {
  test(`Listener.drain() takes latecomers, also after a stall, ${name}`, async () => {
    const accepted: Connection[] = [];
    const take = (connection: Connection): void => void accepted.push(connection);
    const fail = (error: Error): void => {
      throw error;
    };
    const listener: Listener = await listenThere(ADDRESS, take, fail);
    const port = Number(listener.address.split(":").at(-1));
    const connected: number[] = [];
    for (let i = 1; i <= 4; i++) {
      connected.push(connectNatively({ ...ADDRESS, port }, "latecomer", 5000));
      const drained = listener.drain();
      for (const start = performance.now(); performance.now() - start < STALL_MS;);
      await drained;
      assertEquals(accepted.length, i);
      await new Promise((resolve) => setTimeout(resolve, LATE_MS));
    }
    listener.close();
    for (const connection of accepted) connection.destroy();
    for (const fd of connected) nativeIo().io_close(fd);
  });
}
