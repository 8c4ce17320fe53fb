/** Telling zero pages: a comparison of native code, which stops at the first difference. */
import { nodeBuffer } from "../builtin_modules.ts";

const zeros = new Uint8Array(64 * 1024);

/** Whether a page, at most 64 KiB, is all zero. */
export function isZeroPage(page: Uint8Array): boolean {
  if (page[0] !== 0) return false;
  return nodeBuffer().Buffer.compare(page, zeros.subarray(0, page.length)) === 0;
}
