/** Where the shim's shared objects are looked for. */
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { EngineUnavailableError } from "../src/errors.ts";
import { type NativeCalls, openLibrary } from "./open.ts";
import { CODEC_ABI, IO_ABI, type NativeSymbols } from "./symbols.ts";

/** Names a directory with the shared objects, before all others. */
export const SHIM_VARIABLE = "MULTIFD_SHIM_DIR";
/** Lead to the per-user directory; Deno must allow to look at them. */
export const CACHE_VARIABLES: readonly string[] = ["HOME", "XDG_CACHE_HOME"];
/** Changes with the shim's interface: versions of this package that differ in it do not share. */
const CACHE_VERSION = `${CODEC_ABI}.${IO_ABI}`;

interface DenoPermissions {
  permissions: { querySync(what: { name: "env"; variable: string }): { state: string } };
}

/** A variable that is set and not empty, where Deno allows to look at it; never a prompt. */
function environment(variable: string): string | undefined {
  const deno = (globalThis as { Deno?: DenoPermissions }).Deno;
  const isAllowed = deno === undefined ||
    deno.permissions.querySync({ name: "env", variable }).state === "granted";
  return isAllowed ? process.env[variable] || undefined : undefined;
}

/** The per-user directory that the build fills where this module is no file, or not writable. */
export function cacheDirectory(): string | undefined {
  const home = environment("HOME");
  // a relative one would load code from wherever the program was started
  const base = [environment("XDG_CACHE_HOME"), home && path.join(home, ".cache")]
    .find((directory) => directory !== undefined && path.isAbsolute(directory));
  return base === undefined ? undefined : path.join(base, "multifd", CACHE_VERSION);
}

/** The directory beside this module; undefined where the module is not a file. */
export function moduleDirectory(): string | undefined {
  if (!import.meta.url.startsWith("file:")) return undefined;
  const here = path.dirname(fileURLToPath(import.meta.url));
  return path.resolve(here, "..", "native-shim", "build");
}

/**
 * The command that builds the shim for whoever imported this module.
 *
 * @param module This module's URL.
 * @returns A line for a shell.
 */
export function buildCommand(module: string = import.meta.url): string {
  const script = new URL("../native-shim/build.ts", module);
  if (script.protocol !== "file:") return `deno run -A ${script.href}`;
  // Deno imports no TypeScript from node_modules: there a file is a clone's
  return process.versions.bun === undefined
    ? "deno task build:native"
    : `bun ${fileURLToPath(script)}`;
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
  if (cacheDirectory() === undefined) {
    const why = `HOME is not set, or needs --allow-env=${CACHE_VARIABLES}`;
    tried.push(`Cannot tell the cache directory: ${why}`);
  }
  throw new EngineUnavailableError(
    `Cannot find ${name}.so; build it with "${buildCommand()}" or name its directory in ` +
      `${SHIM_VARIABLE}. Tried:\n  ${tried.join("\n  ")}`,
  );
}
