/** The encrypted side of a TLS connection. */
import type net from "node:net";
import { Duplex } from "node:stream";

/**
 * A socket for the runtime's TLS to stand on, which does what that leaves out: Deno's goes on
 * reading into memory while it is paused, Bun's has everything written at once.
 */
export class CipherStream extends Duplex {
  readonly #socket: net.Socket;
  #isHeld = false;

  /**
   * @param socket What carries it; nothing of it may have been read.
   * @param isTls Told the very first byte; if it says no, nothing gets as far as TLS.
   */
  constructor(socket: net.Socket, isTls: (firstByte: number) => boolean) {
    super({ allowHalfOpen: true });
    this.#socket = socket;
    socket.setNoDelay(true);
    let isAsked = false;
    let isBelieved = false;
    socket.on("data", (chunk: Uint8Array) => {
      if (!isAsked) isBelieved = isTls(chunk[0]!);
      isAsked = true;
      if (isBelieved && (!this.push(chunk) || this.#isHeld)) socket.pause();
    });
    socket.on("end", () => this.push(null));
    socket.on("error", (error) => this.destroy(error));
    socket.on("close", () => this.destroy());
  }

  /** Lets nothing more come; what was read of the socket still does. */
  hold(): void {
    this.#isHeld = true;
    this.#socket.pause();
  }

  /** Lets more come. */
  release(): void {
    this.#isHeld = false;
    this.#socket.resume();
  }

  /**
   * Waits until the system has taken most of what was written.
   *
   * @throws {Error} If the socket closes first.
   */
  drained(): Promise<void> {
    if (this.destroyed) return Promise.reject(this.#closed());
    if (!this.writableNeedDrain) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.removeListener("drain", end);
        this.removeListener("close", end);
        if (this.destroyed) reject(this.#closed());
        else resolve();
      };
      this.on("drain", end);
      this.on("close", end);
    });
  }

  #closed(): Error {
    return this.errored ?? new Error("closed");
  }

  override _read(): void {
    if (!this.#isHeld) this.#socket.resume();
  }

  override _write(
    chunk: Uint8Array,
    _encoding: string,
    done: (error?: Error | null) => void,
  ): void {
    this.#socket.write(chunk, done);
  }

  override _final(done: () => void): void {
    this.#socket.end(done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }
}
