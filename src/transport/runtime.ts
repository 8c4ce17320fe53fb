/** Connections on the runtime's own sockets: node:net, which Deno, Bun and Node all have. */
import type { default as net } from "node:net";
import { demand } from "../../ffi/permissions.ts";
import { nodeNet } from "../builtin_modules.ts";
import { type MultifdError, PeerClosedError } from "../errors.ts";
import { type Address, formatAddress } from "./address.ts";
import type { Connection, Listener } from "./connection.ts";

/** How long nothing may arrive before a listener counts as drained, in milliseconds. */
const DRAIN_MS = 50;
/** In so many looks: after a stall a timer comes before the connections that came meanwhile. */
const QUIET_LOOKS = 5;
/** After so many looks it is, whoever still comes: a source has connected long before. */
const MAX_LOOKS = 200;
/**
 * How long writes may keep the event loop from going round, in milliseconds: a socket that takes
 * everything calls back before that, and no signal, timer or other connection is seen meanwhile.
 */
const TURN_MS = 20;

interface WaitingRead {
  into: Uint8Array;
  filled: number;
  resolve: (read: number) => void;
  reject: (error: Error) => void;
}

/** A connection on a socket, or on what behaves like one: TLS changes its protected parts. */
export class SocketConnection implements Connection {
  name: string;
  bytesRead = 0;
  bytesWritten = 0;
  readonly #socket: net.Socket;
  #held: Uint8Array[] = [];
  #waiting: WaitingRead | undefined;
  #someone: (() => void) | undefined;
  #ended = false;
  #error: Error | undefined;
  /** Since when the event loop has not gone round; undefined where nobody knows of it. */
  #heldSince: number | undefined;

  constructor(socket: net.Socket, name: string) {
    this.#socket = socket;
    this.name = name;
    socket.setNoDelay(true);
    socket.on("data", (chunk: Uint8Array) => this.#take(chunk));
    socket.on("end", () => this.#finish());
    socket.on("close", () => this.#finish());
    socket.on("error", (error) => this.#fail(this.explain(error)));
  }

  /** What an error of the socket means. */
  protected explain(cause: Error & { code?: string }): MultifdError {
    return new PeerClosedError(`Peer dropped ${this.name}`, { code: cause.code }, { cause });
  }

  /** Lets nothing more come. */
  protected hold(): void {
    this.#socket.pause();
  }

  /** Lets more come. */
  protected release(): void {
    this.#socket.resume();
  }

  /** Gives the socket up, after an error at once. */
  protected drop(_hasFailed: boolean): void {
    this.#socket.destroy();
  }

  #take(chunk: Uint8Array): void {
    this.bytesRead += chunk.length;
    const rest = this.#serve(chunk);
    if (rest.length > 0) this.#held.push(rest);
    if (this.#held.length > 0) this.hold();
    this.#wake();
  }

  /** Gives a chunk to the read that waits; returns what it did not need. */
  #serve(chunk: Uint8Array): Uint8Array {
    const waiting = this.#waiting;
    if (waiting === undefined) return chunk;
    const part = chunk.subarray(0, waiting.into.length - waiting.filled);
    waiting.into.set(part, waiting.filled);
    waiting.filled += part.length;
    if (waiting.filled === waiting.into.length) {
      this.#waiting = undefined;
      waiting.resolve(waiting.filled);
    }
    return chunk.subarray(part.length);
  }

  #wake(): void {
    const someone = this.#someone;
    this.#someone = undefined;
    someone?.();
  }

  #finish(): void {
    this.#ended = true;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.resolve(waiting.filled);
    this.#wake();
  }

  #fail(error: Error): void {
    this.#error ??= error;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.reject(this.#error);
    this.#finish();
  }

  read(into: Uint8Array): number | Promise<number> {
    let filled = 0;
    while (this.#held.length > 0 && filled < into.length) {
      const first = this.#held[0]!;
      const part = first.subarray(0, into.length - filled);
      into.set(part, filled);
      filled += part.length;
      if (part.length === first.length) this.#held.shift();
      else this.#held[0] = first.subarray(part.length);
    }
    if (filled === into.length) return filled;
    if (this.#error !== undefined) throw this.#error;
    if (this.#ended) return filled;
    return new Promise((resolve, reject) => {
      this.#waiting = { into, filled, resolve, reject };
      this.release();
    });
  }

  async readSome(): Promise<Uint8Array | undefined> {
    while (this.#held.length === 0) {
      if (this.#error !== undefined) throw this.#error;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#someone = resolve;
        this.release();
      });
    }
    return this.#held.shift();
  }

  write(bytes: Uint8Array, more?: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#error !== undefined) return reject(this.#error);
      if (more !== undefined) this.#socket.write(bytes);
      this.#socket.write(more ?? bytes, (error) => {
        if (error) return reject(this.#error ?? this.explain(error));
        this.bytesWritten += bytes.length + (more?.length ?? 0);
        this.#resolveInTurn(resolve);
      });
    });
  }

  /** Resolves at once, unless writes alone have had the thread for too long. */
  #resolveInTurn(resolve: () => void): void {
    const now = performance.now();
    if (this.#heldSince === undefined) {
      this.#heldSince = now;
      setTimeout(() => this.#heldSince = undefined, 0);
    }
    if (now - this.#heldSince < TURN_MS) return resolve();
    // not an immediate: between those Deno looks for other connections once in 61 times
    setTimeout(resolve, 0);
  }

  end(): void {
    this.#socket.end();
  }

  destroy(error?: Error): void {
    if (error !== undefined) this.#fail(error);
    this.drop(this.#error !== undefined);
    this.#finish();
  }
}

function target(address: Address): net.NetConnectOpts {
  return "path" in address ? { path: address.path } : address;
}

/**
 * Opens a connection.
 *
 * @param address Where to.
 * @param name What to call it in messages.
 * @param signal Gives up when aborted, with the signal's reason.
 * @throws {PeerClosedError} If nobody takes it.
 */
export async function connect(
  address: Address,
  name: string,
  signal: AbortSignal,
): Promise<Connection> {
  return new SocketConnection(await connectSocket(address, name, signal), name);
}

/** The same, as a socket. */
export function connectSocket(
  address: Address,
  name: string,
  signal: AbortSignal,
): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const socket = nodeNet().connect({ ...target(address), allowHalfOpen: true });
    const abort = (): void => {
      socket.destroy();
      reject(signal.reason);
    };
    const refuse = (cause: Error & { code?: string }): void => {
      signal.removeEventListener("abort", abort);
      // not the network's error but a missing permission, which says what to do
      if (cause.code === undefined) return reject(cause);
      const where = formatAddress(address);
      reject(
        new PeerClosedError(`Cannot connect ${name} to ${where}`, { code: cause.code }, { cause }),
      );
    };
    signal.addEventListener("abort", abort, { once: true });
    socket.once("error", refuse);
    socket.once("connect", () => {
      signal.removeEventListener("abort", abort);
      socket.removeListener("error", refuse);
      resolve(socket);
    });
  });
}

/**
 * Listens on an address.
 *
 * @param address Where; port 0 takes any.
 * @param onConnection Gets each connection.
 * @param onError Gets an error of the listener itself.
 * @throws {PeerClosedError} If the address cannot be had.
 */
export function listen(
  address: Address,
  onConnection: (connection: Connection) => void,
  onError: (error: Error) => void,
): Promise<Listener> {
  const onSocket = (socket: net.Socket, name: string): void =>
    onConnection(new SocketConnection(socket, name));
  return listenForSockets(address, onSocket, onError);
}

/** The same, with a socket and its name for each connection. */
export function listenForSockets(
  address: Address,
  onSocket: (socket: net.Socket, name: string) => void,
  onError: (error: Error) => void,
): Promise<Listener> {
  let accepted = 0;
  return new Promise((resolve, reject) => {
    demand("net", formatAddress(address));
    const server = nodeNet().createServer({ allowHalfOpen: true }, (socket) => {
      onSocket(socket, `connection ${accepted++}`);
    });
    server.once("error", reject);
    server.listen("path" in address ? { path: address.path } : address, () => {
      server.removeListener("error", reject);
      server.on("error", onError);
      const bound = server.address();
      const actual = typeof bound === "object" && bound !== null && "port" in address
        ? { host: address.host, port: bound.port }
        : address;
      resolve({
        address: formatAddress(actual),
        async drain() {
          let quiet = 0;
          for (let looks = 0; quiet < QUIET_LOOKS && looks < MAX_LOOKS; looks++) {
            const before = accepted;
            await new Promise((done) => setTimeout(done, DRAIN_MS / QUIET_LOOKS));
            quiet = before === accepted ? quiet + 1 : 0;
          }
        },
        close: () => void server.close(),
      });
    });
  });
}
