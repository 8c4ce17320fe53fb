/** Several channels in one thread, each of which blocks while it receives or sends a packet. */
import { nativeIo } from "../../ffi/io.ts";
import type { MaybePromise } from "../maybe_promise.ts";

/** What a thread's channel waits with. */
export interface TurnConnection {
  /** Its socket. */
  readonly fd: number;
  /** Whether something has come that was not asked for yet. */
  readonly hasAhead: boolean;
}

/** As many as there are ids. */
const MOST_CHANNELS = 256;

interface Waiting {
  channel: number;
  connection: TurnConnection;
  resolve: () => void;
}

/**
 * Lets those channels of a thread go on that need not wait for their peer. The thread blocks only
 * when each of its channels waits here or has finished its round.
 */
export class ThreadTurns {
  readonly #isSending: boolean;
  /** Channels at a packet, or about to be. */
  readonly #working = new Set<number>();
  /** Those that stand at a SYNC or have sent all. */
  readonly #resting = new Set<number>();
  #waiting: Waiting[] = [];
  readonly #fds = new Int32Array(MOST_CHANNELS);
  readonly #ready = new Uint8Array(MOST_CHANNELS);

  /** @param isSending Whether the channels send, else they receive. */
  constructor(isSending: boolean) {
    this.#isSending = isSending;
  }

  /** A channel is there, and in a round of its own. */
  join(channel: number): void {
    this.#working.add(channel);
  }

  /** The next round begins: for all channels of the thread, the first of which says so. */
  begin(): void {
    for (const channel of this.#resting) this.#working.add(channel);
    this.#resting.clear();
  }

  /** A channel's round is over. */
  rest(channel: number): void {
    this.#working.delete(channel);
    this.#resting.add(channel);
    this.#goOn();
  }

  /** A channel is no more. */
  leave(channel: number): void {
    this.#working.delete(channel);
    this.#resting.delete(channel);
    this.#goOn();
  }

  /** Waits until a channel's next packet need not wait. */
  wait(channel: number, connection: TurnConnection): MaybePromise<void> {
    // a thread of one channel can as well block in the call itself
    if (this.#working.size + this.#waiting.length + this.#resting.size === 1) return;
    return new Promise((resolve) => {
      this.#working.delete(channel);
      // in front: whichever channel sends, and what the last one used is in the cache
      if (this.#isSending) this.#waiting.unshift({ channel, connection, resolve });
      else this.#waiting.push({ channel, connection, resolve });
      this.#goOn();
    });
  }

  #goOn(): void {
    if (this.#working.size > 0 || this.#waiting.length === 0) return;
    this.#poll();
    const waiting: Waiting[] = [];
    let isOver = false;
    for (const [i, one] of this.#waiting.entries()) {
      if (this.#ready[i] === 0 || isOver) {
        waiting.push(one);
        continue;
      }
      isOver = this.#isSending;
      this.#working.add(one.channel);
      one.resolve();
    }
    this.#waiting = waiting;
  }

  /** Finds out who need not wait; blocks until one of them is so. */
  #poll(): void {
    const { length } = this.#waiting;
    let waits = 1;
    for (const [i, { connection }] of this.#waiting.entries()) {
      this.#fds[i] = connection.fd;
      if (connection.hasAhead) waits = 0;
    }
    const isSending = this.#isSending ? 1 : 0;
    const found = nativeIo().net_poll(this.#fds, length, isSending, waits, this.#ready);
    for (const [i, { connection }] of this.#waiting.entries()) {
      // who cannot be asked about blocks instead
      if (connection.hasAhead || found < 0) this.#ready[i] = 1;
    }
  }
}
