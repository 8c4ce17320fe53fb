/** The shim's loops over a packet's pages: fast from the first packet on, and never compiled. */
import { nativeIo } from "../../ffi/io.ts";
import type { PageLoops } from "./page_loops.ts";

/**
 * The loops of the shim.
 *
 * @throws {EngineUnavailableError} If it cannot be used here.
 */
export function nativePageLoops(): PageLoops {
  const io = nativeIo();
  return {
    sortPages: (pages, pageSize, first, ordinals, offsets) =>
      checked(
        io.pages_sort(pages, pages.length / pageSize, pageSize, first, ordinals, offsets),
      ),
    readOffsets: (from, pageSize, usedLength, into) =>
      checked(io.offsets_read(from, into.length, pageSize, usedLength, into)),
    writeOffsets(offsets, into) {
      checked(io.offsets_write(offsets, offsets.length, into));
    },
    markPages: (words, offsets, pageSize, again) =>
      checked(io.pages_mark(words, words.length, offsets, offsets.length, pageSize, again)),
  };
}

/** A result; below zero, this module's callers broke pages.c's rules. */
function checked(result: number): number {
  if (result < 0) throw new RangeError("Pages do not fit into a packet or their block");
  return result;
}
