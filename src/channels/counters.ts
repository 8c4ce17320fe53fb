/** Counters of a channel, which its own thread writes and the main thread reads. */

/** Counters of one channel. */
export interface ChannelCounters {
  /** Channel number. */
  id: number;
  /** Packets, SYNC packets included. */
  packets: number;
  /** SYNC packets. */
  syncs: number;
  /** Pages with data. */
  normalPages: number;
  /** Zero pages. */
  zeroPages: number;
  /** Bytes of the connection, greeting included. */
  bytes: number;
  /** Payloads that `verify` found wrong. */
  verifyCaught: number;
  /** Milliseconds of compressing or decompressing. */
  codecTime: number;
  /** Milliseconds of waiting for the connection, and for its turn where the rate is limited. */
  waitTime: number;
}

const FIELDS = [
  "packets",
  "syncs",
  "normalPages",
  "zeroPages",
  "bytes",
  "verifyCaught",
  "codecTime",
  "waitTime",
] as const;

/**
 * Makes counters, of one's own or one with another thread's.
 *
 * @param id Channel number.
 * @param shared Memory of {@linkcode COUNTERS_SIZE} bytes.
 */
export function makeCounters(
  id: number,
  shared = new SharedArrayBuffer(COUNTERS_SIZE),
): ChannelCounters {
  const values = new Float64Array(shared);
  const counters = { id };
  for (const [i, field] of FIELDS.entries()) {
    Object.defineProperty(counters, field, {
      enumerable: true,
      get: () => values[i],
      set: (value: number) => values[i] = value,
    });
  }
  return counters as ChannelCounters;
}

/** Bytes of a channel's counters. */
export const COUNTERS_SIZE: number = 8 * FIELDS.length;

/** Counts what a channel's time goes into, by one look at the clock where one thing ends. */
export class ChannelClock {
  readonly #counters: ChannelCounters;
  #since = 0;

  /** @param counters Where it is counted. */
  constructor(counters: ChannelCounters) {
    this.#counters = counters;
  }

  /** What comes now is counted. */
  start(): void {
    this.#since = performance.now();
  }

  /** What came since the last look was compressing or decompressing. */
  computed(): void {
    this.#counters.codecTime += this.#look();
  }

  /** What came since the last look was waiting. */
  waited(): void {
    this.#counters.waitTime += this.#look();
  }

  #look(): number {
    const now = performance.now();
    const passed = now - this.#since;
    this.#since = now;
    return passed;
  }
}
