/** Pre-copy: pass after pass over what the guest has written meanwhile, until little is left. */
import type { GuestPages, Pass } from "./pass.ts";

/** What a running guest writes. */
export interface DirtyLoad {
  /** Bytes of pages per second that are written, each page of the working set as likely. */
  bytesPerSecond: number;
  /** Bytes of the pages that are written at all. */
  workingSet: number;
  /** Longest standstill that is allowed, in seconds: QEMU's `downtime-limit`. */
  downtimeLimit: number;
}

/** All passes together. */
export interface Rounds {
  /** Whether little enough is left at the end. */
  converges: boolean;
  /** Passes. */
  count: number;
  /** Seconds of all passes. */
  seconds: number;
  /** Seconds of the last one, in which the guest stands still. */
  downtime: number;
  /** Pages that were sent. */
  pages: number;
  /** Bytes on the wire. */
  bytes: number;
  /** CPU seconds of the sender. */
  sendCpu: number;
  /** CPU seconds of the receiver. */
  receiveCpu: number;
}

/** QEMU's default for `downtime-limit`, in seconds. */
export const DOWNTIME_LIMIT = 0.3;
/** Passes after which a guest that still writes faster than it is sent always will. */
const MOST_ROUNDS = 200;
/** A pass must leave less than the one before by this much, or no pass ever will. */
const PROGRESS = 0.995;

/** Bytes that differ after some seconds: pages that are written twice count once. */
export function dirtyAfter(load: DirtyLoad, seconds: number): number {
  const { bytesPerSecond, workingSet } = load;
  if (workingSet === 0) return 0;
  return workingSet * (1 - Math.exp(-bytesPerSecond * seconds / workingSet));
}

/**
 * Runs the passes.
 *
 * @param first The pass over all RAM.
 * @param load What the guest writes; undefined if it is paused.
 * @param guest The guest.
 * @param passOver A pass over so many pages with data.
 */
export function runRounds(
  first: Pass,
  load: DirtyLoad | undefined,
  guest: GuestPages,
  passOver: (pages: number) => Pass,
): Rounds {
  const sum: Rounds = {
    converges: true,
    count: 1,
    seconds: first.seconds,
    downtime: 0,
    pages: guest.bytes / guest.pageSize,
    bytes: first.bytes,
    sendCpu: first.sendCpu,
    receiveCpu: first.receiveCpu,
  };
  if (load === undefined) return sum;
  let last = first;
  let before = Infinity;
  for (;;) {
    const dirty = dirtyAfter(load, last.seconds);
    // QEMU holds pages as they are in memory against bytes per second on the wire
    const isLittle = dirty * last.seconds <= last.bytes * load.downtimeLimit;
    if (!isLittle && (dirty > before * PROGRESS || sum.count >= MOST_ROUNDS)) {
      return { ...sum, converges: false };
    }
    const pages = dirty / guest.pageSize;
    last = passOver(pages);
    before = dirty;
    sum.count++;
    sum.seconds += last.seconds;
    sum.pages += pages;
    sum.bytes += last.bytes;
    sum.sendCpu += last.sendCpu;
    sum.receiveCpu += last.receiveCpu;
    if (isLittle) return { ...sum, downtime: last.seconds };
  }
}
