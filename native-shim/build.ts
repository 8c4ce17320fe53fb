/**
 * Builds the shim with this machine's C compiler: `deno task build:native` in a clone,
 * `deno run -A jsr:@multifd/multifd/build-native` for importers under Deno, and
 * `bun node_modules/@multifd/multifd/native-shim/build.ts` under Bun; each takes a
 * DIRECTORY. Without one the shared objects go beside this file or, where that is no
 * file or cannot be written, into the user's cache.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import {
  CACHE_VARIABLES,
  cacheDirectory,
  moduleDirectory,
  SHIM_VARIABLE,
  shimDirectories,
} from "../ffi/find.ts";
import { SOURCES } from "./sources.ts";

export { SOURCES };

/** Debian's packages of what every shared object needs; the Makefile names the libraries'. */
const TOOL_PACKAGES = "gcc libc6-dev make";

/** What is missing to build anything; undefined where nothing is. */
function missingTool(): string | undefined {
  const probe = { input: "#include <stdio.h>\n", encoding: "utf8" } as const;
  const compiler = spawnSync("sh", ["-c", "${CC:-cc} -E - >/dev/null"], probe);
  const why = (compiler.stderr ?? "").trim().split("\n")[0];
  if (compiler.status !== 0) return `there is no working C compiler${why && ` (${why})`}`;
  return spawnSync("make", ["--version"]).error && "there is no make";
}

/** Refuses a source that is not this version's; those of a clone may have been changed. */
function checkSource(url: URL, source: Uint8Array, expected: string): void {
  const received = createHash("sha256").update(source).digest("hex");
  if (url.protocol === "file:" || received === expected) return;
  throw new Error(`${url.href} is not this version's: SHA-256 ${received}, expected ${expected}`);
}

/** Copies the sources from wherever this file came from. */
async function fetchSources(into: string): Promise<void> {
  await Promise.all(
    Object.keys(SOURCES).map(async (name) => {
      const url = new URL(name, import.meta.url);
      const response = await fetch(url);
      if (!response.ok) throw new Error(`${url.href} answered HTTP ${response.status}`);
      const source = new Uint8Array(await response.arrayBuffer());
      checkSource(url, source, SOURCES[name]!);
      fs.writeFileSync(path.join(into, name), source);
    }),
  );
}

/** Puts files into a directory, each at once: who has the old one open keeps it. */
function install(files: string[], into: string): void {
  fs.mkdirSync(into, { recursive: true });
  const fresh = fs.mkdtempSync(path.join(into, ".new-"));
  try {
    for (const file of files) fs.copyFileSync(file, path.join(fresh, path.basename(file)));
    for (const name of fs.readdirSync(fresh)) {
      fs.renameSync(path.join(fresh, name), path.join(into, name));
    }
  } finally {
    fs.rmSync(fresh, { recursive: true, force: true });
  }
}

/** Installs into the first directory that can be written. */
function installInto(directories: string[], files: string[]): string {
  for (const directory of directories) {
    try {
      install(files, directory);
      return directory;
    } catch (error) {
      console.error(`Cannot write to ${directory}: ${(error as Error).message}`);
    }
  }
  throw new Error("there is no directory to put it in: set HOME, or name a DIRECTORY");
}

/** How a program finds what is in a directory. */
function howToUse(directory: string): string[] {
  const isNamed = ![...shimDirectories()].includes(directory);
  const lines = isNamed ? [`Set ${SHIM_VARIABLE}=${directory} to use it`] : [];
  if (!("Deno" in globalThis)) return lines;
  const isCache = directory === cacheDirectory();
  const variables = isNamed ? [SHIM_VARIABLE] : isCache ? CACHE_VARIABLES : [];
  const environment = variables.length > 0 ? ` --allow-env=${variables}` : "";
  return [...lines, `Deno needs --allow-ffi=${directory}${environment}`];
}

/** Where fetch_accelerators.ts puts libqpl and libqatzip: beside this file. */
function vendor(): string[] {
  if (!import.meta.url.startsWith("file:")) return [];
  return [`VENDOR=${fileURLToPath(new URL("vendor", import.meta.url))}`];
}

/** Builds and installs; false where something that could be built was not. */
async function build(directory: string | undefined): Promise<boolean> {
  const missing = missingTool();
  if (missing) throw new Error(`${missing} (Debian: apt-get install ${TOOL_PACKAGES})`);
  const temporary = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-shim-"));
  try {
    await fetchSources(temporary);
    // relative, since make knows no spaces in names
    const out = "build";
    const make = ["--no-print-directory", "--silent", "--keep-going", `OUT=${out}`, "all"];
    const { status } = spawnSync("make", [...make, ...vendor()], {
      cwd: temporary,
      stdio: "inherit",
    });
    const built = path.join(temporary, out);
    const objects = fs.existsSync(built)
      ? fs.readdirSync(built).filter((name) => name.endsWith(".so")).sort()
      : [];
    if (objects.length === 0) throw new Error("nothing was compiled");
    const directories = directory !== undefined
      ? [path.resolve(directory)]
      : [moduleDirectory(), cacheDirectory()].filter((place) => place !== undefined);
    const place = installInto(directories, objects.map((name) => path.join(built, name)));
    const names = objects.map((name) => path.basename(name, ".so")).join(", ");
    console.log([`Built ${names} in ${place}`, ...howToUse(place)].join("\n"));
    if (status !== 0) console.error("Not everything could be built, see above");
    return status === 0;
  } finally {
    fs.rmSync(temporary, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const [directory] = process.argv.slice(2);
  if (directory?.startsWith("-")) {
    console.error("Usage: build.ts [DIRECTORY]");
    process.exitCode = 2;
  } else {
    try {
      process.exitCode = await build(directory) ? 0 : 1;
    } catch (error) {
      console.error(`Cannot build the shim: ${(error as Error).message}`);
      process.exitCode = 1;
    }
  }
}
