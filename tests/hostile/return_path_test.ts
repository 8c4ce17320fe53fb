/** Peers that misuse the return path: sources that do not read it, destinations that fill it. */
import net from "node:net";
import path from "node:path";
import { after, test } from "node:test";
import fs from "node:fs";
import { assertRejects } from "@std/assert";
import { MemoryImage, ProtocolError, send, TimedOutError } from "../../mod.ts";
import { MainChannelWriter } from "../../src/protocol/main_channel_writer.ts";
import { encodeReturnPathMessage } from "../../src/protocol/return_path.ts";
import {
  sharedPages,
  startReceiver,
  temporaryDirectory,
  TRANSPORTS,
} from "../migration/_migrate.ts";
import { join, makeScript } from "../migration/_script.ts";
import { HostilePeer } from "./_peer.ts";

const directory = temporaryDirectory();
after(() => fs.rmSync(directory, { recursive: true }));

const pong = encodeReturnPathMessage({ type: "pong", value: 0 });
const ack = encodeReturnPathMessage({ type: "switchover-ack" });
const ANSWERS = 8192;

/** The same many times. */
function manyOf(answer: Uint8Array): Uint8Array {
  return join(...Array.from({ length: ANSWERS }, () => answer));
}

/** Sends to a destination that does with its main channel what the test says. */
async function sendTo(
  onMain: (socket: net.Socket) => void,
  onChannel: (socket: net.Socket) => void,
  transport: (typeof TRANSPORTS)[number],
): Promise<void> {
  const sockets: net.Socket[] = [];
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    if (sockets.push(socket) === 1) onMain(socket);
    else onChannel(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  const image = new MemoryImage({ "pc.ram": sharedPages(8192, 4096, 2) });
  try {
    await send({ image, to: `127.0.0.1:${port}`, method: "none", timeout: 1000, transport });
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}

for (const transport of TRANSPORTS) {
  test(`receive() on ${transport} sockets gives up on a source that PINGs and reads nothing`, async () => {
    const socket = path.join(directory, `${transport}.sock`);
    const options = { transport, listen: `unix:${socket}`, timeout: 1000 };
    const { received } = await startReceiver(options);
    const main = await HostilePeer.connect({ path: socket }, true);
    const { head, returnPath } = makeScript().main;
    const ping = new MainChannelWriter("round").ping(1);
    // as many as are taken; a unix socket has no room for the answers
    await main.write(join(head, returnPath, ...Array.from({ length: 1000 }, () => ping)));
    await assertRejects(() => received, TimedOutError, "on the main channel");
    main.socket.destroy();
  });

  test(`send() on ${transport} sockets gives up on a destination that says PONG and takes nothing`, async () => {
    let timer: ReturnType<typeof setInterval> | undefined;
    const run = (): Promise<void> =>
      sendTo(
        (socket) => {
          socket.resume();
          timer = setInterval(() => socket.write(pong), 50);
        },
        (socket) => socket.pause(),
        transport,
      );
    await assertRejects(run, TimedOutError, "to take pages");
    clearInterval(timer);
  });

  for (const [what, answer] of [["PONG", pong], ["that it agrees", ack]] as const) {
    test(`send() on ${transport} sockets gives up on a destination that says ${what} for ever`, async () => {
      const answers = manyOf(answer);
      const flood = async (socket: net.Socket): Promise<void> => {
        while (!socket.destroyed) {
          if (socket.write(answers)) await new Promise((resolve) => setTimeout(resolve, 1));
          else await new Promise((resolve) => socket.once("drain", resolve).once("close", resolve));
        }
      };
      const run = (): Promise<void> =>
        sendTo((socket) => void flood(socket.resume()), (socket) => socket.resume(), transport);
      await assertRejects(run, ProtocolError, "never says SHUT: expected at most 86400 (main");
    });
  }

  test(`send() on ${transport} sockets gives up on a destination that answers a byte at a time`, async () => {
    let timer: ReturnType<typeof setInterval> | undefined;
    const shut = encodeReturnPathMessage({ type: "shut", status: 0 });
    const bytes = [...join(pong, shut)];
    const run = (): Promise<void> =>
      sendTo(
        (socket) => {
          socket.resume();
          timer = setInterval(() => socket.write(Uint8Array.of(bytes.shift() ?? 0)), 300);
        },
        (socket) => socket.resume(),
        transport,
      );
    await assertRejects(run, TimedOutError, "to hold every page");
    clearInterval(timer);
  });
}
