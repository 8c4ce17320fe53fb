/** SHA-256 of a block, in pieces, with the event loop alive in between. */
import { createHash } from "node:crypto";
import { setImmediate } from "node:timers/promises";

const PIECE = 4 * 1024 * 1024;

/**
 * Hashes `length` bytes.
 *
 * @param length Bytes in all.
 * @param read Returns the bytes of a range.
 * @returns The hash in hex.
 */
export async function sha256Of(
  length: number,
  read: (offset: number, size: number) => Uint8Array,
): Promise<string> {
  const hash = createHash("sha256");
  for (let offset = 0; offset < length; offset += PIECE) {
    hash.update(read(offset, Math.min(PIECE, length - offset)));
    await setImmediate();
  }
  return hash.digest("hex");
}
