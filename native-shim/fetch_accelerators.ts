/**
 * Fetches libqpl and libqatzip where the system has none, for the shim to be built with:
 * `deno task fetch:accelerators`, or under Bun `bun native-shim/fetch_accelerators.ts`.
 *
 * They are Debian's packages of newer suites, by the mirror and the keys of this machine's
 * own apt, unpacked into `native-shim/vendor/`. Nothing is installed, and apt's own state stays
 * as it is. Needs no root.
 */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { ownSource, PrivateApt } from "./private_apt.ts";

const here = path.dirname(fileURLToPath(import.meta.url));
const vendor = path.join(here, "vendor");
const LIBRARY_FOLDER = "usr/lib/x86_64-linux-gnu";

/** What is fetched together, where the system or the vendor folder has no such files. */
interface Library {
  name: string;
  /** Files that show that the system has it. */
  system: string[];
  /** Files that show that it was fetched. */
  fetched: string[];
  /** Debian's packages, with their suites; without one, of this machine's own. */
  packages: string[];
}

const LIBRARIES: Library[] = [
  {
    name: "libqpl",
    system: ["/usr/include/qpl/qpl.h", "/usr/local/include/qpl/qpl.h"],
    fetched: ["include/qpl/qpl.h", "lib/libqpl.a"],
    packages: ["libqpl-dev/sid"],
  },
  {
    name: "libaccel-config",
    system: [`/${LIBRARY_FOLDER}/libaccel-config.so.1`, "/usr/lib64/libaccel-config.so.1"],
    fetched: ["lib/libaccel-config.so.1"],
    // newer ones need a newer glibc
    packages: ["libaccel-config1"],
  },
  {
    name: "libqatzip",
    system: ["/usr/include/qatzip.h", "/usr/local/include/qatzip.h"],
    fetched: ["include/qatzip.h", "lib/libqatzip.so.3", "lib/libqat.so.4", "lib/libusdm.so.0"],
    packages: ["libqatzip-dev/trixie", "libqatzip3/trixie", "libqat4/trixie", "libusdm0/trixie"],
  },
];

/** What they load beside one another, by the package of this machine's own suite that has it. */
const LOADED: Record<string, string> = {
  "libcrypto.so.3": "libssl3",
  "libjson-c.so.5": "libjson-c5",
  "liblz4.so.1": "liblz4-1",
  "libnuma.so.1": "libnuma1",
  "libuuid.so.1": "libuuid1",
  "libz.so.1": "zlib1g",
};

/** Packages of what the libraries in a folder load and would not find. */
function missingPackages(folder: string): string[] {
  const files = fs.readdirSync(folder).filter((name) => /\.so\.\d+$/.test(name));
  const { stdout } = spawnSync("ldd", files.map((name) => path.join(folder, name)), {
    encoding: "utf8",
    env: { ...process.env, LD_LIBRARY_PATH: folder },
  });
  const names = [...(stdout ?? "").matchAll(/^\s*(\S+) => not found/gm)].map(([, name]) => name!);
  return [...new Set(names)].flatMap((name) => LOADED[name] ?? []);
}

/** Keeps headers and libraries of unpacked packages. */
function keep(unpacked: string, into: string): void {
  const from = (name: string): string => path.join(unpacked, name);
  fs.mkdirSync(path.join(into, "lib"), { recursive: true });
  if (fs.existsSync(from("usr/include"))) {
    fs.cpSync(from("usr/include"), path.join(into, "include"), { recursive: true });
  }
  for (const folder of [LIBRARY_FOLDER, "lib/x86_64-linux-gnu"]) {
    if (!fs.existsSync(from(folder))) continue;
    for (const name of fs.readdirSync(from(folder))) {
      // the name that programs load; what it links to is copied with it
      if (!/\.so\.\d+$|\.a$/.test(name)) continue;
      fs.copyFileSync(path.join(from(folder), name), path.join(into, "lib", name));
    }
  }
}

/**
 * Fetches what is missing.
 *
 * @returns Names of what was fetched; none where the system, or an earlier call, had everything.
 * @throws {Error} If this is no Debian, or its mirror does not answer.
 */
export function fetchAccelerators(): string[] {
  const missing = LIBRARIES.filter(({ system, fetched }) =>
    !system.some((file) => fs.existsSync(file)) &&
    !fetched.every((file) => fs.existsSync(path.join(vendor, file)))
  );
  if (missing.length === 0) return [];
  const source = ownSource(
    "install libqpl and libqatzip (with their headers) by its own means",
  );
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-apt-"));
  try {
    const apt = new PrivateApt(directory, source, [source.suite, "trixie", "sid"]);
    const unpacked = path.join(directory, "unpacked");
    apt.unpack(missing.flatMap(({ packages }) => packages), unpacked);
    const loaded = missingPackages(path.join(unpacked, LIBRARY_FOLDER));
    if (loaded.length > 0) apt.unpack(loaded, unpacked);
    keep(unpacked, vendor);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
  return missing.map(({ name }) => name);
}

if (import.meta.main) {
  try {
    const fetched = fetchAccelerators();
    const said = fetched.length > 0 ? `Fetched ${fetched.join(", ")}` : "Nothing to fetch";
    console.log(`${said}; deno task build:native builds what needs them`);
  } catch (error) {
    console.error(`Cannot fetch libqpl and libqatzip: ${(error as Error).message}`);
    process.exitCode = 1;
  }
}
