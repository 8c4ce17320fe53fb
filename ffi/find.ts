/** Where the shim's shared objects are looked for. */
import { nodeFs, nodePath, nodeProcess, nodeUrl } from "../src/builtin_modules.ts";
import { EngineUnavailableError } from "../src/errors.ts";
import { type NativeCalls, openLibrary } from "./open.ts";
import { mayLoad, mayRead } from "./permissions.ts";
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
  return isAllowed ? nodeProcess().env[variable] || undefined : undefined;
}

/** The per-user directory that the build fills where this module is no file, or not writable. */
export function cacheDirectory(): string | undefined {
  const path = nodePath();
  const home = environment("HOME");
  // a relative one would load code from wherever the program was started
  const base = [environment("XDG_CACHE_HOME"), home && path.join(home, ".cache")]
    .find((directory) => directory !== undefined && path.isAbsolute(directory));
  return base === undefined ? undefined : path.join(base, "multifd", CACHE_VERSION);
}

/** Whether this is an executable that Bun compiled: its modules are files only to itself. */
export const IS_COMPILED: boolean = import.meta.url.startsWith("file:///$bunfs/");

/** This module's file; undefined where it is none. */
function moduleFile(): string | undefined {
  if (IS_COMPILED || !import.meta.url.startsWith("file:")) return undefined;
  return nodeUrl().fileURLToPath(import.meta.url);
}

/** The directory beside this module; undefined where the module is not a file. */
export function moduleDirectory(): string | undefined {
  const file = moduleFile();
  const path = nodePath();
  return file && path.resolve(path.dirname(file), "..", "native-shim", "build");
}

/** The npm package that has the shared objects ready for this machine. */
export function shimPackage(): string {
  const { platform, arch } = nodeProcess();
  return `@multifd/native-${platform}-${arch}`;
}

/** What a channel's worker must be told: it need not look for what was found already. */
export interface WorkerSettings {
  /** The program's file: a worker's own first argument is its own file. */
  program: string | undefined;
  /** Where shared objects were found. */
  found: readonly string[];
}

let settings: WorkerSettings | undefined;
/** Where shared objects were found in this thread. */
const found = new Set<string>();

/** What this thread's workers must be told. */
export function workerSettings(): WorkerSettings {
  return { program: program(), found: [...found] };
}

/** Takes what the thread that started this one told it, before anything is looked for. */
export function takeWorkerSettings(told: WorkerSettings): void {
  settings = told;
}

function program(): string | undefined {
  return settings === undefined ? nodeProcess().argv[1] : settings.program;
}

/** Where that package may be: in node_modules of the program's project, or of this module's. */
function packageDirectories(): string[] {
  const path = nodePath();
  const name = shimPackage();
  const directories = new Set<string>();
  for (const file of [program(), moduleFile()]) {
    // a relative one would load code from wherever the program was started
    if (file === undefined || !path.isAbsolute(file)) continue;
    for (let at = path.dirname(file);; at = path.dirname(at)) {
      directories.add(path.join(at, "node_modules", name));
      if (at === path.dirname(at)) break;
    }
  }
  return [...directories].filter((directory) =>
    mayRead(directory) ? nodeFs().existsSync(directory) : mayLoad(directory)
  );
}

/**
 * The command that builds the shim for whoever imported this module.
 *
 * @param module This module's URL.
 * @returns A line for a shell.
 */
export function buildCommand(module: string = import.meta.url): string {
  if (IS_COMPILED) {
    const directory = nodePath().dirname(nodeProcess().execPath);
    return `deno run -A jsr:@multifd/multifd/build-native ${directory}`;
  }
  const script = new URL("../native-shim/build.ts", module);
  if (script.protocol !== "file:") return `deno run -A ${script.href}`;
  // Deno imports no TypeScript from node_modules: there a file is a clone's
  return "Bun" in globalThis ? `bun ${nodeUrl().fileURLToPath(script)}` : "deno task build:native";
}

/** The directories, in the order they are searched. */
export function* shimDirectories(): Generator<string> {
  const named = environment(SHIM_VARIABLE);
  if (named !== undefined) yield named;
  const beside = moduleDirectory();
  if (beside !== undefined) yield beside;
  // looking for packages takes time: only where the module has none beside it
  yield* packageDirectories();
  yield nodePath().dirname(nodeProcess().execPath);
  const cache = cacheDirectory();
  if (cache !== undefined) yield cache;
  yield "/usr/local/lib/multifd";
  yield "/usr/lib/multifd";
}

/** Those that are known to have something, then all. */
function* searchedDirectories(): Generator<string> {
  const known = settings?.found ?? [];
  yield* known;
  for (const directory of shimDirectories()) if (!known.includes(directory)) yield directory;
}

/**
 * Opens the first shared object of a name that can be opened.
 *
 * @param name The object's name, without `.so`.
 * @param symbols Its functions.
 * @param isOurs Whether an object is of this version; the next place may have one that is.
 * @returns Its functions, and where it was.
 * @throws {EngineUnavailableError} If there is none; the message lists what was tried.
 */
export function findLibrary<S extends NativeSymbols>(
  name: string,
  symbols: S,
  isOurs: (calls: NativeCalls<S>) => boolean = () => true,
): { calls: NativeCalls<S>; file: string } {
  const tried: string[] = [];
  let foreign: string | undefined;
  for (const directory of searchedDirectories()) {
    const file = `${directory}/${name}.so`;
    try {
      const calls = openLibrary(file, symbols);
      if (isOurs(calls)) {
        found.add(directory);
        return { calls, file };
      }
      foreign ??= file;
    } catch (error) {
      tried.push((error as Error).message);
    }
  }
  if (foreign !== undefined) {
    throw new EngineUnavailableError(`${foreign} is of another version, build it anew`);
  }
  if (cacheDirectory() === undefined) {
    const why = `HOME is not set, or needs --allow-env=${CACHE_VARIABLES}`;
    tried.push(`Cannot tell the cache directory: ${why}`);
  }
  throw new EngineUnavailableError(
    `Cannot find ${name}.so; build it with "${buildCommand()}", install ${shimPackage()} from npm, ` +
      `or name its directory in ${SHIM_VARIABLE}. Tried:\n  ${tried.join("\n  ")}`,
  );
}
