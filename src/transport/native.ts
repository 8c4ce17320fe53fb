/** Connections on the shim's sockets: file descriptors that any thread of the process can use. */
import { alignedBytes, cString, errorName, nativeIo } from "../../ffi/io.ts";
import { PeerClosedError } from "../errors.ts";
import type { MaybePromise } from "../maybe_promise.ts";
import { type Address, formatAddress } from "./address.ts";
import type { Connection } from "./connection.ts";

/**
 * How long a thread that may not block sleeps when nothing has come, in milliseconds: at
 * first, and at most. Looking costs: a look each millisecond made Deno 7 % slower.
 */
export const POLL_MS = 1;
const MAX_POLL_MS = 50;
const PIECE = 256 * 1024;
/** How long reads and writes that need no waiting keep everything else from its turn, in ms. */
const TURN_MS = 20;
/** How far a read may go beyond what was asked for: a packet's header with 4 KiB pages. */
const READ_AHEAD = 1344;
const SHUTDOWN_SENDING = 1;
/** As net_shutdown() takes it. */
export const SHUTDOWN_BOTH = 2;

/** The next wait of a thread that looks again and again, in milliseconds. */
export function longerPatience(patience: number): number {
  return Math.min(2 * patience, MAX_POLL_MS);
}

/** Lets everything else have its turn for so long. */
export function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** The host or path as C takes it, and the port: below zero for a path. */
export function nativePlace(address: Address): [host: Uint8Array, port: number] {
  return "path" in address ? [cString(address.path), -1] : [cString(address.host), address.port];
}

/** A connection for a thread that may block: every call does. */
export class BlockingConnection implements Connection {
  name: string;
  bytesRead = 0;
  bytesWritten = 0;
  /** The socket. */
  readonly fd: number;
  readonly #io = nativeIo();
  /** What came behind the last read: the next header, mostly. */
  readonly #ahead = new Uint8Array(READ_AHEAD);
  readonly #turn: (connection: BlockingConnection) => MaybePromise<void>;
  #from = 0;
  #to = 0;

  /**
   * @param fd The socket.
   * @param name What to call it in messages.
   * @param turn Waits for a connection's turn in its thread.
   */
  constructor(
    fd: number,
    name: string,
    turn: (connection: BlockingConnection) => MaybePromise<void> = () => {},
  ) {
    this.fd = fd;
    this.name = name;
    this.#turn = turn;
  }

  #fail(result: number): never {
    throw new PeerClosedError(`Peer dropped ${this.name}`, { code: errorName(result) });
  }

  read(into: Uint8Array): number {
    const { length } = into;
    const kept = Math.min(this.#to - this.#from, length);
    if (kept > 0) {
      into.set(this.#ahead.subarray(this.#from, this.#from + kept));
      this.#from += kept;
      this.bytesRead += kept;
    }
    if (kept === length) return length;
    const rest = kept === 0 ? into : into.subarray(kept);
    const got = this.#io.net_recv(this.fd, rest, rest.length, this.#ahead, READ_AHEAD);
    if (got < 0) this.#fail(got);
    const read = Math.min(got, rest.length);
    this.#from = 0;
    this.#to = got - read;
    this.bytesRead += read;
    return kept + read;
  }

  /** Whether something has come that was not asked for yet. */
  get hasAhead(): boolean {
    return this.#from < this.#to;
  }

  turn(): MaybePromise<void> {
    return this.#turn(this);
  }

  hasMore(): boolean {
    if (this.hasAhead) return true;
    const got = this.#io.net_recv_some(this.fd, this.#ahead, READ_AHEAD);
    this.#from = 0;
    // an end or an error is there for the next read, too
    this.#to = Math.max(got, 0);
    return got > 0;
  }

  allocate(size: number): Uint8Array {
    return alignedBytes(size);
  }

  readSome(): Uint8Array | undefined {
    const byte = new Uint8Array(1);
    return this.read(byte) > 0 ? byte : undefined;
  }

  write(bytes: Uint8Array, more?: Uint8Array): void {
    const size = more?.length ?? 0;
    const result = this.#io.net_send(this.fd, bytes, bytes.length, more ?? null, size);
    if (result < 0) this.#fail(result);
    this.bytesWritten += bytes.length + size;
  }

  writePages(
    header: Uint8Array,
    pages: Uint8Array,
    ordinals: Uint32Array,
    pageSize: number,
  ): void {
    const size = header.length;
    const count = ordinals.length;
    const result = this.#io.net_send_pages(this.fd, header, size, pages, ordinals, count, pageSize);
    if (result < 0) this.#fail(result);
    this.bytesWritten += size + count * pageSize;
  }

  end(): void {
    this.#io.net_shutdown(this.fd, SHUTDOWN_SENDING);
  }

  destroy(): void {
    this.#io.net_shutdown(this.fd, SHUTDOWN_BOTH);
  }
}

/**
 * A connection for the main thread, which may not block: reads look again and again.
 * For the little that is not pages: a greeting, the main channel.
 */
export class PolledConnection implements Connection {
  name: string;
  bytesRead = 0;
  bytesWritten = 0;
  /** The socket. */
  readonly fd: number;
  readonly #io = nativeIo();
  #error: Error | undefined;
  #isDropped = false;
  #isLent = false;
  #isClosed = false;
  #reads = 0;
  #turnBegan = performance.now();
  #piece: Uint8Array | undefined;
  #written: Promise<void> = Promise.resolve();
  #wake: (() => void) | undefined;

  constructor(fd: number, name: string) {
    this.fd = fd;
    this.name = name;
  }

  /** Lends the socket to another thread; {@linkcode giveBack} closes it. */
  lend(): void {
    this.#isLent = true;
  }

  /** The other thread is done with the socket. */
  giveBack(): void {
    this.#isLent = false;
    if (this.#isDropped) this.#close();
  }

  async #receive(into: Uint8Array): Promise<number> {
    this.#reads++;
    let patience = POLL_MS;
    try {
      for (;;) {
        if (this.#error !== undefined) throw this.#error;
        if (this.#isDropped) return 0;
        const read = this.#io.net_recv_some(this.fd, into, into.length);
        if (read >= 0) {
          this.bytesRead += read;
          await this.#giveWay();
          return read;
        }
        const code = errorName(read);
        if (code !== "EAGAIN") throw new PeerClosedError(`Peer dropped ${this.name}`, { code });
        const isPoked = await this.#sleep(patience);
        this.#turnBegan = performance.now();
        patience = isPoked ? POLL_MS : longerPatience(patience);
      }
    } finally {
      this.#reads--;
      if (this.#isDropped) this.#close();
    }
  }

  /** Lets everything else have its turn where this has had the thread for long. */
  async #giveWay(): Promise<void> {
    if (performance.now() - this.#turnBegan < TURN_MS) return;
    await sleep(0);
    this.#turnBegan = performance.now();
  }

  /** Looks at once, and then as often as at first: somebody knows that something is coming. */
  poke(): void {
    this.#wake?.();
  }

  /** Whether it was a poke that ended it. */
  #sleep(milliseconds: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
  }

  async read(into: Uint8Array): Promise<number> {
    let filled = 0;
    while (filled < into.length) {
      const read = await this.#receive(into.subarray(filled));
      if (read === 0) break;
      filled += read;
    }
    return filled;
  }

  async readSome(): Promise<Uint8Array | undefined> {
    this.#piece ??= new Uint8Array(PIECE);
    const read = await this.#receive(this.#piece);
    // a copy: a piece for each byte that comes alone would be kept until they are read
    return read > 0 ? this.#piece.slice(0, read) : undefined;
  }

  /** One write after the other. A peer that does not read may keep one waiting, never the thread. */
  write(bytes: Uint8Array, more?: Uint8Array): Promise<void> {
    const written = this.#written.then(async () => {
      await this.#send(bytes);
      if (more !== undefined) await this.#send(more);
      // there may be an answer soon
      this.poke();
    });
    this.#written = written.catch(() => {});
    return written;
  }

  async #send(bytes: Uint8Array): Promise<void> {
    let patience = POLL_MS;
    for (let at = 0; at < bytes.length;) {
      if (this.#error !== undefined) throw this.#error;
      if (this.#isDropped) throw new PeerClosedError(`Connection ${this.name} is closed`);
      const sent = this.#io.net_send_some(this.fd, bytes.subarray(at), bytes.length - at);
      if (sent >= 0) {
        at += sent;
        this.bytesWritten += sent;
        await this.#giveWay();
        continue;
      }
      const code = errorName(sent);
      if (code !== "EAGAIN") throw new PeerClosedError(`Peer dropped ${this.name}`, { code });
      await sleep(patience);
      patience = longerPatience(patience);
    }
  }

  end(): void {
    if (!this.#isClosed) this.#io.net_shutdown(this.fd, SHUTDOWN_SENDING);
  }

  destroy(error?: Error): void {
    this.#error ??= error;
    if (this.#isDropped) return;
    this.#isDropped = true;
    this.poke();
    this.#io.net_shutdown(this.fd, SHUTDOWN_BOTH);
    this.#close();
  }

  /** Once nobody uses the socket: its number may be another file's the moment after. */
  #close(): void {
    if (this.#isLent || this.#reads > 0 || this.#isClosed) return;
    this.#isClosed = true;
    this.#io.io_close(this.fd);
  }
}

/**
 * Opens a connection; blocks until it stands.
 *
 * @returns The socket.
 * @throws {PeerClosedError} If nobody takes it within the timeout.
 */
export function connectNatively(address: Address, name: string, timeout: number): number {
  const [host, port] = nativePlace(address);
  const fd = nativeIo().net_connect(host, port, timeout);
  if (fd < 0) throw notConnected(address, name, fd);
  return fd;
}

/** The error of a connection that did not come to stand. */
export function notConnected(address: Address, name: string, result: number): PeerClosedError {
  const code = errorName(result);
  return new PeerClosedError(`Cannot connect ${name} to ${formatAddress(address)}`, { code });
}
