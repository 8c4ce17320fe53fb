/** Telling zero pages: a comparison of native code, which stops at the first difference. */
import { Buffer } from "node:buffer";

const zeros = new Uint8Array(64 * 1024);

/** Whether a page, at most 64 KiB, is all zero. */
export function isZeroPage(page: Uint8Array): boolean {
  return page[0] === 0 && Buffer.compare(page, zeros.subarray(0, page.length)) === 0;
}
