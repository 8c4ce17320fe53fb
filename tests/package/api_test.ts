/** What the package exports changes only where docs/api.txt does. */
import fs from "node:fs";
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { API_FILE, apiReport } from "../../packaging/api.ts";

// deno doc tells what there is
if ("Deno" in globalThis) {
  test("the public interface is what docs/api.txt says", () => {
    const kept = fs.readFileSync(API_FILE, "utf8");
    assertEquals(apiReport(), kept, "deno task api writes docs/api.txt anew");
  });
}
