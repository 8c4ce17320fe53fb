import type { Method } from "./method.ts";
import { streamMethod } from "./_stream.ts";

/** A zstd stream per channel, flushed after each packet. */
export const zstd: Method = streamMethod("zstd", 0x04, "zstd-stream", {
  min: 0,
  default: 1,
  max: 20,
});
