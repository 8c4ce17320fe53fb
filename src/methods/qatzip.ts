import type { Method } from "./method.ts";
import { streamMethod } from "./_stream.ts";

/** All pages of a packet as gzip members with QATzip's extra field. */
export const qatzip: Method = streamMethod("qatzip", 0x20, "gzip-members", {
  min: 1,
  default: 1,
  max: 9,
});
