/**
 * Builds a QEMU that has qpl, qatzip and uadk, which Debian's has not: from Debian's sources, with
 * the libraries that the shim is built with and a stand-in for UADK's (`uadk/`), into
 * `tests/qemu/vendor/every-method/`. It takes about five minutes on two cores, and the compilers
 * that it needs are installed, as root.
 *
 * `deno task build:qemu`; then `deno task test:qemu` and `bench/qemu.ts` have it, too.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { fetchAccelerators } from "../../native-shim/fetch_accelerators.ts";
import { ownSource, PrivateApt } from "../../native-shim/private_apt.ts";
import { installDebianPackages, root, runTool } from "../_tools.ts";
import { fetchQemus, firmwareArgs, type QemuCommand, versionOf } from "./fetch.ts";

/** The suite that has a QEMU with these methods, and a meson that is new enough for it. */
const SUITE = "trixie";

/** What QEMU is built with, by the file that tells. */
const PACKAGES: Record<string, string> = {
  bison: "/usr/bin/bison",
  "dpkg-dev": "/usr/bin/dpkg-source",
  flex: "/usr/bin/flex",
  gcc: "/usr/bin/gcc",
  "libfdt-dev": "/usr/include/libfdt.h",
  "libglib2.0-dev": "/usr/include/glib-2.0/glib.h",
  "libpixman-1-dev": "/usr/include/pixman-1/pixman.h",
  "libzstd-dev": "/usr/include/zstd.h",
  "ninja-build": "/usr/bin/ninja",
  "pkg-config": "/usr/bin/pkg-config",
  "python3-setuptools": "/usr/lib/python3/dist-packages/setuptools",
  "python3-venv": "/usr/share/doc/python3-venv",
  "zlib1g-dev": "/usr/include/zlib.h",
};

const FEATURES = [
  "--without-default-features",
  ...["system", "tcg", "kvm", "zstd", "qpl", "qatzip", "uadk"].map((name) => `--enable-${name}`),
  // Debian's sources hold no firmware: that of the fetched QEMU is used
  ...["docs", "tools", "werror", "install-blobs"].map((name) => `--disable-${name}`),
];

const here = path.join(root, "tests", "qemu");
const vendor = path.join(here, "vendor", "every-method");
const program = path.join(vendor, "qemu-system-x86_64");
const accelerators = path.join(root, "native-shim", "vendor");

/** How the QEMU that was built is run; undefined if none was. */
export function builtQemu(): QemuCommand | undefined {
  if (!fs.existsSync(program)) return undefined;
  const env = { LD_LIBRARY_PATH: path.join(accelerators, "lib") };
  return { command: program, args: firmwareArgs("10.0"), env };
}

/** A library as meson asks pkg-config for it. */
interface Library {
  name: string;
  version: string;
  include: string;
  libraries: string[];
}

/** The stand-in, and what of the others was fetched. */
function librariesOf(): Library[] {
  const has = (file: string): boolean => fs.existsSync(path.join(accelerators, "lib", file));
  const include = path.join(accelerators, "include");
  const folder = `-L${path.join(accelerators, "lib")}`;
  const found = ["libwd", "libwd_comp"].map((name): Library => ({
    name,
    version: "2.6",
    include: here,
    libraries: ["-lz"],
  }));
  if (has("libqpl.a")) {
    // it was compiled for a newer glibc, which only renamed these
    const renamed = ["strtol", "strtoll"].map((name) => `-Wl,--defsym=__isoc23_${name}=${name}`);
    const libraries = [folder, "-l:libqpl.a", ...renamed, "-lstdc++", "-ldl", "-lpthread"];
    found.push({ name: "qpl", version: "1.9.0", include, libraries });
  }
  if (has("libqatzip.so.3")) {
    const files = ["libqatzip.so.3", "libqat.so.4", "libusdm.so.0"];
    const libraries = [folder, ...files.map((name) => `-l:${name}`)];
    found.push({ name: "qatzip", version: "1.3.1", include, libraries });
  }
  return found;
}

function describe({ name, version, include, libraries }: Library, folder: string): void {
  const lines = [
    `Name: ${name}`,
    `Description: ${name}`,
    `Version: ${version}`,
    `Libs: ${libraries.join(" ")}`,
    `Cflags: -I${include}`,
  ];
  fs.writeFileSync(path.join(folder, `${name}.pc`), lines.join("\n") + "\n");
}

function build(directory: string): void {
  const source = ownSource("QEMU is built from Debian's sources");
  const apt = new PrivateApt(directory, source, [SUITE], ["deb", "deb-src"]);
  const tools = path.join(directory, "tools");
  apt.unpack([`meson/${SUITE}`], tools);
  const tree = apt.unpackSource(`qemu/${SUITE}`);
  const pkgConfig = path.join(directory, "pkgconfig");
  fs.mkdirSync(pkgConfig);
  for (const library of librariesOf()) describe(library, pkgConfig);
  const env = {
    PKG_CONFIG_PATH: pkgConfig,
    PYTHONPATH: path.join(tools, "usr/lib/python3/dist-packages"),
  };
  const folder = path.join(tree, "build");
  fs.mkdirSync(folder);
  const configure = ["--python=/usr/bin/python3", "--target-list=x86_64-softmmu", ...FEATURES];
  const isBuilt = runTool("../configure", configure, env, folder) &&
    runTool("ninja", [path.basename(program)], env, folder);
  if (!isBuilt) throw new Error("QEMU could not be built");
  fs.mkdirSync(vendor, { recursive: true });
  fs.copyFileSync(path.join(folder, path.basename(program)), `${program}.partial`);
  fs.renameSync(`${program}.partial`, program);
}

function buildWithDependencies(): void {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-build-qemu-"));
  try {
    installDebianPackages(PACKAGES);
    fetchAccelerators();
    const missing = fetchQemus();
    if (missing.length > 0) throw new Error(missing.join("; "));
    build(directory);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  try {
    if (builtQemu() === undefined) buildWithDependencies();
    console.log(`QEMU ${versionOf(builtQemu()!)}`);
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = 1;
  }
}
