/** Telling the pages of a buffer that have data from those that are all zero. */
import { isZeroPage } from "./zero_page.ts";

/**
 * Tells pages with data from zero pages.
 *
 * @param pages At most a packet's worth of neighbours.
 * @param pageSize Page size in bytes.
 * @param first Byte offset of the first in its block.
 * @param ordinals Their ordinals: of those with data, then of zero pages, each in order.
 * @param offsets Their byte offsets in the block, likewise.
 * @returns How many have data.
 */
export type PageSorter = (
  pages: Uint8Array,
  pageSize: number,
  first: number,
  ordinals: Uint32Array,
  offsets: Float64Array,
) => number;

/** Sorts pages by whether some test finds data in them. */
function sortBy(hasData: (page: Uint8Array) => boolean): PageSorter {
  return (pages, pageSize, first, ordinals, offsets) => {
    const zeros: number[] = [];
    let count = 0;
    for (let i = 0, at = 0; at < pages.length; i++, at += pageSize) {
      if (hasData(pages.subarray(at, at + pageSize))) ordinals[count++] = i;
      else zeros.push(i);
    }
    ordinals.set(zeros, count);
    const all = count + zeros.length;
    for (let i = 0; i < all; i++) offsets[i] = first + ordinals[i]! * pageSize;
    return count;
  };
}

/** Tells pages with data from zero pages. */
export const sortPages: PageSorter = sortBy((page) => !isZeroPage(page));

/** Takes every page as a zero page. */
export const takeNoPages: PageSorter = sortBy(() => false);

/** Takes every page as one with data. */
export const takeAllPages: PageSorter = sortBy(() => true);
