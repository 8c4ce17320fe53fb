/** Big-endian numbers and names in byte arrays. */

import { OptionError } from "../errors.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true });
const encoder = new TextEncoder();

/** A DataView over exactly the bytes of an array. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Reads a u64 as a number; above 2^53 it is rounded, which every bound here still refuses. */
export function readU64(view: DataView, at: number): number {
  return view.getUint32(at) * 0x1_0000_0000 + view.getUint32(at + 4);
}

/** Writes a whole number below 2^53 as a u64. */
export function writeU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 0x1_0000_0000));
  view.setUint32(at + 4, value >>> 0);
}

/** Decodes a name; undefined where it is empty, not UTF-8 or holds a NUL. */
export function decodeName(bytes: Uint8Array): string | undefined {
  if (bytes.length === 0 || bytes.includes(0)) return undefined;
  try {
    // a copy: TextDecoder refuses views on shared memory
    return utf8.decode(bytes.slice());
  } catch {
    return undefined;
  }
}

/**
 * Encodes a name that goes on the wire behind one length byte, or into 256 bytes with a NUL.
 *
 * @throws {OptionError} If it is empty, longer than 255 bytes or holds a NUL.
 */
export function encodeWireName(text: string): Uint8Array {
  const bytes = encodeName(text);
  if (bytes.length >= 1 && bytes.length <= 255 && !bytes.includes(0)) return bytes;
  throw new OptionError(`Name ${JSON.stringify(text)} cannot be sent`, {
    expected: "1 to 255 bytes without a NUL",
    received: `${bytes.length} bytes`,
  });
}

/** Encodes text as UTF-8. */
export function encodeName(text: string): Uint8Array {
  return encoder.encode(text);
}

/** A number as `0x…`, for messages. */
export function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
