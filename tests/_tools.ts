/** The runtimes and tools that the tests use, and running them. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** The project's folder. */
export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");

/** The version of Deno that is pinned; Bun's and TypeScript's are in package.json. */
export const DENO_VERSION = "2.9.6";

/** Bun's executable, from the package that carries it; undefined before the set-up. */
export function bunPath(): string | undefined {
  if ("Bun" in globalThis) return process.execPath;
  const file = path.join(root, "node_modules", ".bin", "bun");
  return fs.existsSync(file) ? file : undefined;
}

/** Deno's executable: this process's own, or the one the runner names. */
export function denoPath(): string | undefined {
  return "Deno" in globalThis ? process.execPath : process.env.MULTIFD_TEST_DENO;
}

/** Runs a tool with its output shown; true if it ended well. */
export function runTool(
  command: string,
  args: string[],
  env: Record<string, string> = {},
): boolean {
  console.error(`$ ${[path.basename(command), ...args].join(" ")}`);
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, ...env },
  });
  if (error) console.error(error.message);
  return status === 0;
}

/** Installs Bun, its types and TypeScript from the lock file, where they are not there yet. */
export function setUp(): void {
  const installed = path.join(root, "node_modules", ".package-lock.json");
  const lock = path.join(root, "package-lock.json");
  const isFresh = fs.existsSync(installed) &&
    fs.statSync(installed).mtimeMs >= fs.statSync(lock).mtimeMs;
  if (isFresh && bunPath() !== undefined) return;
  if (!runTool("npm", ["ci", "--no-audit", "--no-fund"])) {
    throw new Error("Set-up failed: npm ci did not install Bun and TypeScript");
  }
}
