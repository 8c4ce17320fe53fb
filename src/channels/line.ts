/** What a channel in a worker and the main thread say to each other, as the worker holds it. */
import type { EngineCounts } from "../engines/engine.ts";
import type { ReceiveMessage, SendMessage } from "./worker_messages.ts";

/** How often the main thread hears of a device, in milliseconds: as often as it tells. */
const COUNTS_MS = 250;

/** A channel's line to the main thread. */
export class Line {
  /** Says something to the main thread. */
  readonly tell: (message: ReceiveMessage | SendMessage) => void;
  readonly #messages: unknown[] = [];
  #wake: () => void = () => {};

  /** @param tell Says something to the main thread. */
  constructor(tell: (message: ReceiveMessage | SendMessage) => void) {
    this.tell = tell;
  }

  /** Takes a message of the main thread. */
  take(message: unknown): void {
    this.#messages.push(message);
    this.#wake();
  }

  /** The next message of the main thread; none is lost while nobody waits. */
  async next<T>(): Promise<T> {
    while (this.#messages.length === 0) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    return this.#messages.shift() as T;
  }
}

/** Makes a function that tells, a few times a second, what became of the pages on a device. */
export function tellNowAndThen(line: Line, counts: () => EngineCounts | undefined): () => void {
  let due = performance.now() + COUNTS_MS;
  return () => {
    const now = performance.now();
    if (now < due) return;
    due = now + COUNTS_MS;
    const engineCounts = counts();
    if (engineCounts !== undefined) line.tell({ type: "counts", engineCounts });
  };
}
