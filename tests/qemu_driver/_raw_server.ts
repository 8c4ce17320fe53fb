/** A server that says what a test tells it to. */
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { temporaryDirectory } from "../migration/_migrate.ts";

/** A server on a unix socket. */
export interface RawServer extends AsyncDisposable {
  /** Its path. */
  socket: string;
}

/** Starts one; each connection is handed to `serve`. */
export async function rawServer(serve: (socket: net.Socket) => void): Promise<RawServer> {
  const socket = path.join(temporaryDirectory(), "raw.sock");
  const sockets = new Set<net.Socket>();
  const server = net.createServer((connection) => {
    sockets.add(connection);
    connection.on("error", () => {});
    serve(connection);
  }).listen(socket);
  await once(server, "listening");
  return {
    socket,
    [Symbol.asyncDispose]() {
      for (const connection of sockets) connection.destroy();
      server.close();
      fs.rmSync(path.dirname(socket), { recursive: true, force: true });
      return Promise.resolve();
    },
  };
}

/** A QEMU's greeting. */
export const GREETING =
  '{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": "Debian"}, ' +
  '"capabilities": ["oob"]}}\r\n';

/** Greets, and answers each line with what `answer` makes of it. */
export function speaksQmp(
  answer: (command: string, id: number) => string,
): (socket: net.Socket) => void {
  return (socket) => {
    socket.write(GREETING);
    socket.on("data", (chunk) => {
      for (const line of chunk.toString().trim().split("\n")) {
        const { execute, id } = JSON.parse(line);
        const text = execute === "qmp_capabilities" ? `{"return": {}, "id": ${id}}\r\n` : "";
        socket.write(text || answer(execute, id));
      }
    });
  };
}
