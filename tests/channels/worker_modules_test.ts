/** What each channel's thread loads before it can do anything. */
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { root } from "../_tools.ts";

const IMPORT = /^(?:import|export) (?!type\b)[^;]*?from "([^"]+)"/gm;

/** Every module that a module loads at once, by its path or name. */
function loadedBy(file: string, loaded = new Set<string>()): Set<string> {
  if (loaded.has(file)) return loaded;
  loaded.add(file);
  for (const [, name] of fs.readFileSync(path.join(root, file), "utf8").matchAll(IMPORT)) {
    if (name!.startsWith(".")) loadedBy(path.join(path.dirname(file), name!), loaded);
    else loaded.add(name!);
  }
  return loaded;
}

test("a worker loads no module of the runtime, the first of which takes 13 ms under Deno", () => {
  const loaded = [...loadedBy("src/channels/worker.ts")];
  assert(loaded.includes("src/ram/shared_ram.ts"));
  assertEquals(loaded.filter((name) => !name.endsWith(".ts")), []);
});
