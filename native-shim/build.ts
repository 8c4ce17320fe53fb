/**
 * Builds the shim: `deno task build:native [DIRECTORY]`, or under Bun
 * `bun native-shim/build.ts`. What the machine has no headers for is left out and named.
 */
import { spawnSync } from "node:child_process";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const out = path.resolve(process.argv[2] ?? path.join(here, "build"));
const { status, error } = spawnSync("make", ["-C", here, "--no-print-directory", `OUT=${out}`], {
  stdio: "inherit",
});
if (error) console.error(`Cannot run make: ${error.message} (Debian: apt-get install make gcc)`);
process.exitCode = status ?? 1;
