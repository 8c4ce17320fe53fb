/** How long a program takes from its start until it is of use. */
import { createServer, type Server } from "node:net";
import { once } from "node:events";
import { GREETING_SIZE } from "../src/protocol/greeting.ts";
import { ramPacketHeaderSize } from "../src/protocol/ram_packet_header.ts";
import { recvCommand, sendCommand, start } from "./_process.ts";

const CHANNELS = 2;
/** A channel's greeting, its first SYNC and the header of its first packet: then come pages. */
const BEFORE_PAGES = GREETING_SIZE + 2 * ramPacketHeaderSize(4096);

/** Resolves when one of a sender's channels has brought a page. */
function firstPage(server: Server): Promise<void> {
  return new Promise((resolve) => {
    let opened = 0;
    server.on("connection", (socket) => {
      // the first connection is the main channel
      const isMain = opened++ === 0;
      let received = 0;
      socket.on("error", () => {}).on("data", (chunk) => {
        received += chunk.length;
        if (!isMain && received > BEFORE_PAGES) resolve();
      });
    });
  });
}

/** Milliseconds from the start of `multifd send` until its first page is at the destination. */
export async function timeToFirstPage(runtime: string, image: string): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const page = firstPage(server);
  const ends = { method: "zstd", channels: CHANNELS };
  const began = performance.now();
  const sender = start(sendCommand(runtime, [image], `127.0.0.1:${port}`, ends));
  await Promise.race([page, sender.figures]);
  const time = performance.now() - began;
  server.close();
  sender.child.kill("SIGKILL");
  await sender.figures.catch(() => {});
  return time;
}

/** Milliseconds from the start of `multifd recv` until it listens. */
export async function timeToListen(runtime: string, out: string): Promise<number> {
  const began = performance.now();
  const receiver = start(recvCommand(runtime, out, { method: "zstd", channels: CHANNELS }));
  await receiver.listening;
  const time = performance.now() - began;
  receiver.child.kill();
  await receiver.figures.catch(() => {});
  return time;
}
