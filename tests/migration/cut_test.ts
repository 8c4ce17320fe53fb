/** A wire that is cut at any point: both sides end with an error, soon, and nothing is kept. */
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { MemoryImage, MultifdError, PeerClosedError, PeerFailedError, send } from "../../mod.ts";
import { Random } from "../_random.ts";
import { sharedPages, startReceiver, temporaryDirectory, TRANSPORTS } from "./_migrate.ts";

const CASES = 36;

/** What another channel may carry before the cut: were it not held, it could do all of the work. */
const MOST_BEFORE = 256 * 1024;

/** Forwards to a port until one connection has carried so many bytes, then cuts that one. */
async function cuttingProxy(port: number, ordinal: number, after: number): Promise<net.Server> {
  const held = new Set<net.Socket>();
  let connections = 0;
  let hasCut = false;
  const server = net.createServer((client) => {
    const own = connections++;
    const isCut = own === ordinal;
    const isOther = !isCut && own > 0 && ordinal > 0;
    const upstream = net.connect({ host: "127.0.0.1", port });
    const drop = (): void => {
      client.destroy();
      upstream.destroy();
    };
    let carried = 0;
    client.on("data", (chunk: Uint8Array) => {
      carried += chunk.length;
      if (isCut && carried > after) {
        upstream.end(chunk.subarray(0, chunk.length - (carried - after)));
        client.destroy();
        hasCut = true;
        for (const socket of held) socket.resume();
        return;
      }
      upstream.write(chunk);
      if (!isOther || hasCut || carried < MOST_BEFORE) return;
      client.pause();
      held.add(client);
    });
    upstream.on("data", (chunk: Uint8Array) => client.write(chunk));
    client.on("end", () => upstream.end());
    client.on("error", drop);
    upstream.on("error", drop);
    upstream.on("close", () => client.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

async function errorOf(promise: Promise<unknown>): Promise<MultifdError | undefined> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof MultifdError) return error;
    throw error;
  }
}

const image = new MemoryImage({ "pc.ram": sharedPages(4096, 4096, 1) });
const random = new Random(20261120);

for (let i = 0; i < CASES; i++) {
  const ordinal = i % 3;
  const transport = TRANSPORTS[i >> 1 & 1]!;
  // what the main channel carries here is short, what a channel carries is about 400 KiB
  const after = random.below(ordinal === 0 ? 150 : 400_000);
  const name = ordinal === 0 ? "the main channel" : `channel ${ordinal - 1}`;
  test(`send() and receive() end on ${transport} sockets when ${name} is cut after ${after}`, async () => {
    const directory = temporaryDirectory();
    const receiver = await startReceiver({
      into: path.join(directory, "vm"),
      timeout: 3000,
      transport,
      ...(i % 2 === 0 ? { channels: 2 } : {}),
    });
    const proxy = await cuttingProxy(receiver.port, ordinal, after);
    const { port } = proxy.address() as net.AddressInfo;
    const to = `127.0.0.1:${port}`;
    const [sent, received] = await Promise.all([
      errorOf(send({ image, to, method: "none", timeout: 3000, transport })),
      errorOf(receiver.received),
    ]);
    proxy.close();
    assert(received instanceof PeerClosedError, String(received));
    assert(sent instanceof PeerClosedError || sent instanceof PeerFailedError, String(sent));
    assertEquals(fs.readdirSync(directory), []);
    fs.rmdirSync(directory);
  });
}
