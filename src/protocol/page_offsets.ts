/** The offsets of a packet's pages: big-endian u64s on the wire. */
import { readU64, viewOf, writeU64 } from "./bytes.ts";

/**
 * Reads offsets up to one that is not page-aligned or not in its block.
 *
 * @param from The offsets as on the wire, at least as many as `into` has room for.
 * @param pageSize Page size in bytes.
 * @param usedLength Bytes of the block.
 * @param into The offsets.
 * @returns How many were read.
 */
export type OffsetsReader = (
  from: Uint8Array,
  pageSize: number,
  usedLength: number,
  into: Float64Array,
) => number;

/**
 * Writes offsets.
 *
 * @param offsets The offsets.
 * @param into Eight bytes for each.
 */
export type OffsetsWriter = (offsets: Float64Array, into: Uint8Array) => void;

/** Reads offsets; without `%`, which is a call for each page. */
export const readOffsets: OffsetsReader = (from, pageSize, usedLength, into) => {
  const view = viewOf(from);
  // below zero for a tiny block, which has no page then
  const last = usedLength - pageSize;
  for (let i = 0, at = 0; i < into.length; i++, at += 8) {
    const offset = readU64(view, at);
    if ((view.getUint32(at + 4) & (pageSize - 1)) !== 0 || offset > last) return i;
    into[i] = offset;
  }
  return into.length;
};

/** Writes offsets. */
export const writeOffsets: OffsetsWriter = (offsets, into) => {
  const view = viewOf(into);
  for (let i = 0; i < offsets.length; i++) writeU64(view, 8 * i, offsets[i]!);
};
