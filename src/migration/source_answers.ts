/** What a destination says to its source: PONG while it works, SHUT when it is done or has failed. */
import { setTimeout as sleep } from "node:timers/promises";
import { ProtocolError } from "../errors.ts";
import { encodeReturnPathMessage } from "../protocol/return_path.ts";
import type { Connection } from "../transport/connection.ts";

/** How long SHUT 1 may take to be written, in milliseconds. */
const FAREWELL_MS = 1000;
/** How long the source may take to close after SHUT 0, in milliseconds. */
const CLOSING_MS = 5000;
/** Most PINGs of a source; QEMU sends a few. */
const MAX_PINGS = 1024;
/** How often a source that waits for SHUT hears that we are alive, in milliseconds. */
const KEEPALIVE_MS = 1000;

/** The return path of a migration, silent until the source opens it. */
export class SourceAnswers {
  #main: Connection | undefined;
  #pings = 0;

  /**
   * The source wants answers, on its main channel.
   *
   * @throws {ProtocolError} If it has said so before.
   */
  open(main: Connection): void {
    if (this.#main !== undefined) {
      throw new ProtocolError("Return path is opened twice", { channel: "main" });
    }
    this.#main = main;
  }

  /**
   * Answers a PING.
   *
   * @throws {ProtocolError} If there were too many.
   */
  async ping(value: number): Promise<void> {
    if (++this.#pings > MAX_PINGS) {
      throw new ProtocolError("Peer sends too many PINGs", {
        channel: "main",
        expected: `at most ${MAX_PINGS}`,
      });
    }
    await this.#pong(value);
  }

  async #pong(value: number): Promise<void> {
    await this.#main?.write(encodeReturnPathMessage({ type: "pong", value }));
  }

  /** Runs with a PONG now and then, so that the source does not give up on a long wait. */
  async whileAlive<T>(work: Promise<T>): Promise<T> {
    let isSaid = true;
    const timer = setInterval(() => {
      // a source that does not read gets no heap of them
      if (!isSaid) return;
      isSaid = false;
      this.#pong(0).then(() => isSaid = true, () => {});
    }, KEEPALIVE_MS);
    try {
      return await work;
    } finally {
      clearInterval(timer);
    }
  }

  /** SHUT 0, then waits for the source to close; the image is safe whatever it does. */
  async done(): Promise<void> {
    const main = this.#main;
    if (main === undefined) return;
    const closed = (async () => {
      await main.write(encodeReturnPathMessage({ type: "shut", status: 0 }));
      main.end();
      while (await main.readSome() !== undefined);
    })();
    // where it fails the source is gone already
    await Promise.race([closed.catch(() => {}), sleep(CLOSING_MS, undefined, { ref: false })]);
  }

  /** SHUT 1, so that the source keeps its guest. */
  async failed(): Promise<void> {
    const main = this.#main;
    if (main === undefined) return;
    const shut = encodeReturnPathMessage({ type: "shut", status: 1 });
    const said = (async () => await main.write(shut))().catch(() => {});
    await Promise.race([said, sleep(FAREWELL_MS, undefined, { ref: false })]);
  }
}
