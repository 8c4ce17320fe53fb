import type { Method } from "./method.ts";
import { pagesMethod } from "./_pages.ts";

/** Each page a raw deflate stream of its own, or raw where it would not shrink. */
export const qpl: Method = pagesMethod("qpl", 0x08, "deflate-pages", () => true);
