/** The shim as it is handed on: objects that bring the libraries they need, with their licences. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { root } from "../tests/_tools.ts";

/** The objects that are handed on; an accelerator's is built where the accelerator is. */
export const OBJECTS: readonly string[] = ["io", "isal", "libdeflate", "zstd"];

/** The newest glibc that they may need: Debian 12, Ubuntu 22.04 and RHEL 9 have it. */
const GLIBC = [2, 34] as const;

/** What every Linux with glibc has. */
const GLIBC_FILE = /^(libc|libm|libdl|libpthread|librt|ld-linux-[\w-]+)\.so\.\d+$/;

function output(command: string, args: string[]): string {
  const { status, error, stdout, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (error) throw new Error(`Cannot run ${command}: ${error.message}`);
  if (status !== 0) throw new Error(`${command} failed: ${stderr.trim()}`);
  return stdout;
}

/** The libraries that an object asks for by name, glibc's aside. */
export function neededLibraries(object: string): string[] {
  const needed = output("readelf", ["--dynamic", "--wide", object]).matchAll(/\[(.*\.so.*)\]$/gm);
  return [...needed].map(([, name]) => name!)
    .filter((name) => name !== path.basename(object) && !GLIBC_FILE.test(name));
}

/** The symbols of an object that need a newer glibc than may be asked for. */
export function tooNewSymbols(object: string): string[] {
  const symbols = output("objdump", ["--dynamic-syms", object])
    .matchAll(/\(?GLIBC_(\d+)\.(\d+)[\d.]*\)?\s+(\S+)$/gm);
  return [...symbols]
    .filter(([, major, minor]) =>
      Number(major) > GLIBC[0] || Number(major) === GLIBC[0] && Number(minor) > GLIBC[1]
    )
    .map(([, major, minor, name]) => `${name} (GLIBC_${major}.${minor})`);
}

/** Debian's package of a library, and the file with its licence. */
function licenceOf(library: string): string {
  const owner = output("dpkg", ["--search", fs.realpathSync(library)]).split(":")[0]!;
  return `/usr/share/doc/${owner}/copyright`;
}

/** Copies a library that an object needs, and its licence. */
function bundleLibrary(name: string, object: string, directory: string): void {
  const found = output("ldd", [object]).split("\n")
    .find((line) => line.trim().startsWith(`${name} => /`));
  const library = found?.trim().split(" ")[2];
  if (library === undefined) throw new Error(`${name} is not on this machine`);
  fs.copyFileSync(library, path.join(directory, name));
  fs.copyFileSync(licenceOf(library), path.join(directory, "licences", `${name}.txt`));
}

/**
 * Builds the shim so that it works where its libraries are not installed.
 *
 * @param directory Where the objects, the libraries and `licences/` go.
 * @throws {Error} If something is missing, or needs a newer glibc than may be asked for.
 */
export function bundleShim(directory: string): void {
  fs.mkdirSync(path.join(directory, "licences"), { recursive: true });
  const targets = OBJECTS.map((name) => path.join(directory, `${name}.so`));
  // what is already loaded keeps its file
  for (const target of targets) fs.rmSync(target, { force: true });
  // static libraries would be simpler: Debian has none of ISA-L
  const link = "LDFLAGS=-Wl,-rpath,'$$ORIGIN'";
  output("make", ["-C", path.join(root, "native-shim"), `OUT=${directory}`, link, ...targets]);
  for (const target of targets) {
    for (const name of neededLibraries(target)) bundleLibrary(name, target, directory);
  }
  for (const name of fs.readdirSync(directory).filter((name) => /\.so(\.|$)/.test(name))) {
    const [symbol] = tooNewSymbols(path.join(directory, name));
    if (symbol !== undefined) {
      throw new Error(
        `${name} needs ${symbol}: build it where glibc is ${GLIBC.join(".")} or older`,
      );
    }
  }
  fs.copyFileSync(path.join(root, "LICENSE"), path.join(directory, "licences", "multifd.txt"));
}
