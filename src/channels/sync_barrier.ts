/** The barrier of a round: each channel stops at its SYNC until the main channel's marker. */
import { PeerClosedError } from "../errors.ts";

/** Where channels and the main channel wait for each other. */
export class SyncBarrier {
  readonly #stopped = new Map<number, { resolve: () => void; reject: (error: Error) => void }>();
  readonly #left = new Set<number>();
  #size = 0;
  #main: { resolve: () => void; reject: (error: Error) => void } | undefined;
  #error: Error | undefined;

  /** Channels that stand at a SYNC. */
  get stopped(): number[] {
    return [...this.#stopped.keys()].sort((a, b) => a - b);
  }

  /** A channel stands at its SYNC: waits for the main channel's marker. */
  stop(channel: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#error !== undefined) return reject(this.#error);
      this.#stopped.set(channel, { resolve, reject });
      this.#check();
    });
  }

  /** A channel has ended: no marker may wait for it any more. */
  leave(channel: number): void {
    this.#left.add(channel);
    this.#check();
  }

  /** The main channel stands at a marker: waits for all channels. */
  allStopped(channels: number): Promise<void> {
    this.#size = channels;
    return new Promise((resolve, reject) => {
      if (this.#error !== undefined) return reject(this.#error);
      this.#main = { resolve, reject };
      this.#check();
    });
  }

  #check(): void {
    const main = this.#main;
    if (main === undefined) return;
    for (const channel of this.#left) {
      this.#main = undefined;
      const what = "Peer closed a channel that owes the main channel's marker a SYNC";
      return main.reject(new PeerClosedError(what, { channel }));
    }
    if (this.#stopped.size < this.#size) return;
    this.#main = undefined;
    main.resolve();
  }

  /** Lets all channels go on. */
  release(): void {
    for (const { resolve } of this.#stopped.values()) resolve();
    this.#stopped.clear();
  }

  /** Ends everyone's waiting with an error. */
  fail(error: Error): void {
    this.#error = error;
    for (const { reject } of this.#stopped.values()) reject(error);
    this.#stopped.clear();
    this.#main?.reject(error);
    this.#main = undefined;
  }
}
