/**
 * Connections that have not said yet what they are. Whoever reaches the port can open one: there is
 * a bounded number of them, each has a bounded time, and none of them can end a migration.
 */
import { identify, type Identity } from "../channels/identify.ts";
import { type MultifdError, ProtocolError } from "../errors.ts";
import type { Connection } from "../transport/connection.ts";

/**
 * How long a connection may take at most to say what it is, in milliseconds, once the main channel
 * has: a channel does at once. A main channel takes as long as QEMU takes to set up its RAM.
 */
const IDENTIFY_MS = 10_000;
/** In so many parts: after a stall a timer comes before what came meanwhile, and counts as one. */
const PARTS = 10;
/** How many may wait beyond those that a migration has. */
const SPARE = 64;
/** Strangers that are each told of; then every tenth, hundredth and so on is. */
const TOLD = 8;

/** How many connections may be open that have not said yet what they are. */
export function mostArrivals(channels: number): number {
  return 1 + channels + SPARE;
}

/** What arrivals are bounded by. */
export interface ArrivalsOptions {
  /** Most connections at once; one more drops the oldest. */
  limit: number;
  /** Longest time without progress, in milliseconds; 0 for none. */
  timeout: number;
  /** Whether the main channel is known. */
  hasMain: () => boolean;
  /** Told of those that are none of the migration's. */
  warn: (message: string) => void;
}

/** Finds out what new connections are. */
export class Arrivals {
  readonly #limit: number;
  readonly #timeout: number;
  readonly #patience: number;
  readonly #hasMain: () => boolean;
  readonly #warn: (message: string) => void;
  readonly #waiting = new Map<Connection, (why: string) => void>();
  readonly #identifying = new Set<Promise<void>>();
  #strangers = 0;

  constructor({ limit, timeout, hasMain, warn }: ArrivalsOptions) {
    this.#limit = limit;
    this.#timeout = timeout || Infinity;
    this.#patience = Math.min(this.#timeout, IDENTIFY_MS);
    this.#hasMain = hasMain;
    this.#warn = warn;
  }

  /**
   * Waits until a connection has said what it is.
   *
   * @param connection The connection.
   * @param begin Told what it is.
   * @throws {MultifdError} If it speaks the protocol, and wrongly.
   */
  async take(connection: Connection, begin: (identity: Identity) => void): Promise<void> {
    const begun = this.#identify(connection).then(begin);
    this.#identifying.add(begun);
    try {
      await begun;
    } finally {
      this.#identifying.delete(begun);
    }
  }

  async #identify(connection: Connection): Promise<Identity> {
    if (this.#waiting.size >= this.#limit) {
      const [dropOldest] = this.#waiting.values();
      dropOldest!(`${this.#limit} connections wait that do not say what they are`);
    }
    let dropped: MultifdError | undefined;
    const drop = (why: string): void => {
      this.#waiting.delete(connection);
      dropped = new ProtocolError(`Peer of ${connection.name} was dropped: ${why}`);
      connection.destroy(dropped);
    };
    this.#waiting.set(connection, drop);
    const part = this.#patience / PARTS;
    let waited = 0;
    const timer = setInterval(() => {
      waited += part;
      const most = this.#hasMain() ? this.#patience : this.#timeout;
      // parts of a millisecond may be lost
      if (waited < most - part / 2) return;
      clearInterval(timer);
      drop(`it did not say what it is within ${most / 1000} s`);
    }, part);
    try {
      const identity = await identify(connection);
      return dropped === undefined ? identity : { type: "stranger", error: dropped };
    } catch (error) {
      if (dropped === undefined) throw error;
      return { type: "stranger", error: dropped };
    } finally {
      clearInterval(timer);
      this.#waiting.delete(connection);
    }
  }

  /** Waits until those that are here now have said what they are, or are gone. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#identifying);
  }

  /** Passes over a connection that is none of the migration's, and does not fill a log with it. */
  ignore(message: string): void {
    const count = ++this.#strangers;
    if (count <= TOLD) this.#warn(`${message}, ignored`);
    else if (/^10+$/.test(String(count))) this.#warn(`${message}, ignored, ${count} so far`);
  }
}
