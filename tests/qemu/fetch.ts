/**
 * Fetches the QEMUs that the tests talk to, with everything they load down to libc, into
 * `tests/qemu/vendor/`. Nothing is installed, and no root is needed.
 */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { ownSource, PrivateApt, type Source } from "../../native-shim/private_apt.ts";

const vendor = path.join(path.dirname(fileURLToPath(import.meta.url)), "vendor");

/** The versions that are tested. */
export const VERSIONS = ["7.2", "10.0"] as const;

/** A version of QEMU, of those that are tested. */
export type Version = typeof VERSIONS[number];

/** Debian's suites that have a version, tried in turn, each with the suites it builds on. */
const SUITES: Record<Version, string[][]> = {
  "7.2": [["bookworm"]],
  "10.0": [["bookworm-backports", "bookworm"], ["trixie"]],
};

const LIBC = "lib/x86_64-linux-gnu";
const LIBRARIES = "usr/lib/x86_64-linux-gnu";
const PROGRAM = "usr/bin/qemu-system-x86_64";
const DATA = ["usr/share/qemu", "usr/share/seabios"];
const PACKAGES = ["qemu-system-x86", "seabios"];

/** What is kept of these packages and those they depend on. */
const KEPT = [LIBC, LIBRARIES, PROGRAM, ...DATA];

/** How a fetched QEMU is run: with the libc that it was fetched with. */
export interface QemuCommand {
  command: string;
  args: string[];
  env: Record<string, string>;
}

function fetched(version: Version, name: string): string {
  return path.join(vendor, version, name);
}

/** What tells a QEMU where the firmware of a fetched one is. */
export function firmwareArgs(version: Version): string[] {
  return DATA.flatMap((name) => ["-L", fetched(version, name)]);
}

/** The command that runs a fetched QEMU. */
export function qemuCommand(version: Version): QemuCommand {
  const libraries = [LIBC, LIBRARIES].map((name) => fetched(version, name)).join(":");
  const program = fetched(version, PROGRAM);
  return {
    command: fetched(version, `${LIBC}/ld-linux-x86-64.so.2`),
    args: ["--library-path", libraries, program, ...firmwareArgs(version)],
    env: { QEMU_MODULE_DIR: fetched(version, `${LIBRARIES}/qemu`) },
  };
}

/** What a QEMU says it is, e.g. `7.2.22`; undefined where there is none. */
export function versionOf({ command, args, env }: QemuCommand): string | undefined {
  const { stdout } = spawnSync(command, [...args, "--version"], {
    env: { ...process.env, ...env },
    encoding: "utf8",
  });
  return /version (\d[\d.]*)/.exec(stdout ?? "")?.[1];
}

/** Fetches what is missing; why a version could not be had, for each that could not. */
export function fetchQemus(): string[] {
  return VERSIONS.flatMap((version) => {
    if (versionOf(qemuCommand(version)) !== undefined) return [];
    try {
      fetchQemu(version);
      return [];
    } catch (error) {
      return [`no QEMU ${version}: ${(error as Error).message}`];
    }
  });
}

/** Tries one suite after the other. */
function fetchQemu(version: Version): void {
  const source = ownSource("the tests take QEMU from Debian's packages");
  const errors: string[] = [];
  for (const suites of SUITES[version]) {
    try {
      return unpackQemu(version, source, suites);
    } catch (error) {
      errors.push((error as Error).message);
    }
  }
  throw new Error(errors.join("; "));
}

function unpackQemu(version: Version, source: Source, suites: string[]): void {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-apt-"));
  const partial = path.join(vendor, `${version}.partial`);
  try {
    const unpacked = path.join(directory, "unpacked");
    new PrivateApt(directory, source, suites)
      .unpackWithDependencies(PACKAGES, suites[0]!, unpacked);
    fs.rmSync(partial, { recursive: true, force: true });
    for (const name of KEPT) {
      fs.cpSync(path.join(unpacked, name), path.join(partial, name), {
        recursive: true,
        verbatimSymlinks: true,
      });
    }
    fs.rmSync(path.join(vendor, version), { recursive: true, force: true });
    fs.renameSync(partial, path.join(vendor, version));
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const missing = fetchQemus();
  for (const version of VERSIONS) {
    console.log(`QEMU ${version}: ${versionOf(qemuCommand(version))}`);
  }
  for (const reason of missing) console.error(reason);
  process.exitCode = missing.length > 0 ? 1 : 0;
}
