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
}

const FIELDS = [
  "packets",
  "syncs",
  "normalPages",
  "zeroPages",
  "bytes",
  "verifyCaught",
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
