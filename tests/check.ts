/** Format, lint, types and documentation, for Deno and for Bun: `deno task check`. */
import path from "node:path";
import process from "node:process";
import { bunPath, root, runTool, setUp } from "./_tools.ts";

const PUBLIC = ["mod.ts", "src/core.ts", "src/cli/main.ts", "native-shim/build.ts"];

/** Runs every check, also after one failed; returns the names of those that did. */
export function runChecks(): string[] {
  setUp();
  const deno = process.execPath;
  const tsc = path.join(root, "node_modules", "typescript", "bin", "tsc");
  const checks: [name: string, command: string, args: string[]][] = [
    ["format", deno, ["fmt", "--check", "--quiet"]],
    ["lint", deno, ["lint", "--quiet"]],
    ["types for Deno", deno, ["check", "--quiet", "."]],
    ["types for Bun", bunPath()!, [tsc, "--project", "."]],
    ["documentation", deno, ["doc", "--lint", "--quiet", ...PUBLIC]],
    ["publishing", deno, ["publish", "--dry-run", "--allow-dirty", "--quiet"]],
  ];
  return checks.filter(([, command, args]) => !runTool(command, args)).map(([name]) => name);
}

if (import.meta.main) {
  const failed = runChecks();
  if (failed.length > 0) console.error(`failed: ${failed.join(", ")}`);
  process.exitCode = failed.length > 0 ? 1 : 0;
}
