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
    const isReady = this.#poll(this.#waiting.map(({ connection }) => connection));
    let next = this.#waiting.filter((_, i) => isReady[i]);
    if (this.#isSending) next = next.slice(0, 1);
    this.#waiting = this.#waiting.filter((one) => !next.includes(one));
    for (const { channel, resolve } of next) {
      this.#working.add(channel);
      resolve();
    }
  }

  #poll(connections: TurnConnection[]): boolean[] {
    const { length } = connections;
    const fds = Int32Array.from(connections, ({ fd }) => fd);
    const ready = new Uint8Array(length);
    const waits = connections.some(({ hasAhead }) => hasAhead) ? 0 : 1;
    const found = nativeIo().net_poll(fds, length, this.#isSending ? 1 : 0, waits, ready);
    // who cannot be asked about blocks instead
    return connections.map(({ hasAhead }, i) => hasAhead || found < 0 || ready[i] !== 0);
  }
}
