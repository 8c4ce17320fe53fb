/** What is done for each page of a packet: in TypeScript, or by the shim where a thread has it. */
import { readOffsets, writeOffsets } from "../protocol/page_offsets.ts";
import type { OffsetLoops } from "../protocol/ram_packet_header.ts";
import { markPages, type PageMarker } from "../ram/page_set.ts";
import { type PageSorter, sortPages } from "../ram/sort_pages.ts";

/** The loops over a packet's pages. */
export interface PageLoops extends OffsetLoops {
  /** Tells pages with data from zero pages. */
  sortPages: PageSorter;
  /** Marks pages as received. */
  markPages: PageMarker;
}

/** The loops in TypeScript. */
export const pageLoops: PageLoops = { readOffsets, writeOffsets, sortPages, markPages };
