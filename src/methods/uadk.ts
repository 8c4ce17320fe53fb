import type { Method } from "./method.ts";
import { pagesMethod } from "./_pages.ts";

/**
 * Each page a zlib stream of its own, or raw. Sends raw pages unless told
 * otherwise: a QEMU without the Kunpeng device cannot read compressed ones.
 */
export const uadk: Method = pagesMethod(
  "uadk",
  0x10,
  "zlib-pages",
  (context) => context.uadkCompress === true,
);
