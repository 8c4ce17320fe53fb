/** What reads the whole of a saved VM: it stops when told, and tells how far it is. */
import { cancelledError } from "./lifeline.ts";
import type { RamBlock } from "../protocol/ram_packet.ts";

/** Options of what reads a whole saved VM. */
export interface ReadingOptions {
  /** Stops early. */
  signal?: AbortSignal | undefined;
  /** Told several times a second: bytes of guest RAM that were read, and bytes in all. */
  onProgress?: ((bytes: number, total: number) => void) | undefined;
}

/**
 * Makes what is to be called with the bytes of each piece, before it is read.
 *
 * @param blocks The blocks that are read.
 * @param options What to look at, and whom to tell.
 * @returns It throws {@linkcode CancelledError} where `signal` is aborted.
 */
export function pieceWatcher(
  blocks: readonly RamBlock[],
  { signal, onProgress }: ReadingOptions,
): (bytes: number) => void {
  const total = blocks.reduce((sum, { usedLength }) => sum + usedLength, 0);
  let read = 0;
  return (bytes) => {
    if (signal?.aborted) throw cancelledError(signal);
    onProgress?.(read, total);
    read += bytes;
  };
}
