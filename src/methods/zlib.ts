import type { Method } from "./method.ts";
import { streamMethod } from "./_stream.ts";

/** One zlib stream per channel, sync-flushed after each packet; it never ends. */
export const zlib: Method = streamMethod("zlib", 0x02, "zlib-stream", {
  min: 0,
  default: 1,
  max: 9,
});
