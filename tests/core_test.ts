import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { bunPath, root } from "./_tools.ts";
import { temporaryDirectory } from "./migration/_migrate.ts";

test("./core bundles for a browser without a runtime's names in it", () => {
  const directory = temporaryDirectory();
  const bundle = path.join(directory, "core.js");
  const { status, stderr } = spawnSync(
    bunPath()!,
    ["build", "--target=browser", "src/core.ts", "--outfile", bundle],
    { cwd: root, encoding: "utf8" },
  );
  assertEquals(status, 0, stderr);
  const code = fs.readFileSync(bundle, "utf8");
  assert(code.includes("parseRamPacket"));
  assertEquals(code.match(/node:|\bDeno\b|\bBun\b|\bprocess\b|\brequire\b/g), null);
  fs.rmSync(directory, { recursive: true });
});
