/** Where the shim's shared objects are looked for. */
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { EngineUnavailableError } from "../src/errors.ts";
import { type NativeCalls, openLibrary } from "./open.ts";
import type { NativeSymbols } from "./symbols.ts";

/** Names a directory with the shared objects, before all others. */
export const SHIM_VARIABLE = "MULTIFD_SHIM_DIR";
/** Changes with the shim, so that two versions of this package do not share a cache. */
const CACHE_VERSION = "1";

interface DenoPermissions {
  permissions: { querySync(what: { name: "env"; variable: string }): { state: string } };
}

/** A variable of the environment; undefined where Deno does not allow to look, and never a prompt. */
function environment(variable: string): string | undefined {
  const deno = (globalThis as { Deno?: DenoPermissions }).Deno;
  const isAllowed = deno === undefined ||
    deno.permissions.querySync({ name: "env", variable }).state === "granted";
  return isAllowed ? process.env[variable] : undefined;
}

/** The per-user directory that `build:native` fills where the module itself is not writable. */
export function cacheDirectory(): string | undefined {
  const cache = environment("XDG_CACHE_HOME");
  const home = environment("HOME");
  const base = cache ?? (home === undefined ? undefined : path.join(home, ".cache"));
  return base === undefined ? undefined : path.join(base, "multifd", CACHE_VERSION);
}

/** The directory beside this module; undefined where the module is not a file. */
export function moduleDirectory(): string | undefined {
  if (!import.meta.url.startsWith("file:")) return undefined;
  const here = path.dirname(fileURLToPath(import.meta.url));
  return path.resolve(here, "..", "native-shim", "build");
}

/** The directories, in the order they are searched. */
export function shimDirectories(): string[] {
  return [
    environment(SHIM_VARIABLE),
    moduleDirectory(),
    path.dirname(process.execPath),
    cacheDirectory(),
    "/usr/local/lib/multifd",
    "/usr/lib/multifd",
  ].filter((directory) => directory !== undefined);
}

/**
 * Opens the first shared object of a name that can be opened.
 *
 * @param name The object's name, without `.so`.
 * @param symbols Its functions.
 * @returns Its functions, and where it was.
 * @throws {EngineUnavailableError} If there is none; the message lists what was tried.
 */
export function findLibrary<S extends NativeSymbols>(
  name: string,
  symbols: S,
): { calls: NativeCalls<S>; file: string } {
  const tried: string[] = [];
  for (const directory of shimDirectories()) {
    const file = path.join(directory, `${name}.so`);
    try {
      return { calls: openLibrary(file, symbols), file };
    } catch (error) {
      tried.push((error as Error).message);
    }
  }
  throw new EngineUnavailableError(
    `Cannot find ${name}.so; build it with "deno task build:native" or name its directory in ` +
      `${SHIM_VARIABLE}. Tried:\n  ${tried.join("\n  ")}`,
  );
}
