/** The runtimes and tools that the tests use, and running them. */
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { fetchAccelerators } from "../native-shim/fetch_accelerators.ts";

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

/** How long a tool that runs while others run may take, in milliseconds: ten times what any does. */
const LIMIT_MS = 45 * 60_000;

/** Runs a tool with its output shown; true if it ended well. */
export function runTool(
  command: string,
  args: string[],
  env: Record<string, string> = {},
  cwd: string = root,
): boolean {
  console.error(`$ ${[path.basename(command), ...args].join(" ")}`);
  const { status, error } = spawnSync(command, args, {
    cwd,
    stdio: "inherit",
    env: { ...process.env, ...env },
  });
  if (error) console.error(error.message);
  return status === 0;
}

/** Runs a tool while others run, with its output in a file; true if it ended well. */
export function startTool(
  command: string,
  args: string[],
  env: Record<string, string>,
  file: string,
): Promise<boolean> {
  console.error(`$ ${[path.basename(command), ...args].join(" ")} > ${path.relative(root, file)}`);
  const output = fs.openSync(file, "w");
  const child = spawn(command, args, {
    cwd: root,
    stdio: ["ignore", output, output],
    env: { ...process.env, ...env },
    // a runner that hangs ends its run, too
    timeout: LIMIT_MS,
    killSignal: "SIGKILL",
  });
  fs.closeSync(output);
  return new Promise((resolve) => {
    child.on("error", (error) => {
      console.error(error.message);
      resolve(false);
    });
    child.on("close", (status) => resolve(status === 0));
  });
}

/** Installs Bun, its types and TypeScript from the lock file, where they are not there yet. */
export function installPackages(): void {
  const installed = path.join(root, "node_modules", ".package-lock.json");
  const lock = path.join(root, "package-lock.json");
  const isFresh = fs.existsSync(installed) &&
    fs.statSync(installed).mtimeMs >= fs.statSync(lock).mtimeMs;
  if (isFresh && bunPath() !== undefined) return;
  if (!runTool("npm", ["ci", "--no-audit", "--no-fund"])) {
    throw new Error("Set-up failed: npm ci did not install Bun and TypeScript");
  }
}

/** What the shim is built with, and the programs that the tests run, by the file that tells. */
const DEBIAN_PACKAGES: Record<string, string> = {
  gcc: "/usr/bin/gcc",
  "g++": "/usr/bin/g++",
  "libc6-dev": "/usr/include/stdio.h",
  make: "/usr/bin/make",
  "libisal-dev": "/usr/include/isa-l/igzip_lib.h",
  "libdeflate-dev": "/usr/include/libdeflate.h",
  "libzstd-dev": "/usr/include/zstd.h",
  "zlib1g-dev": "/usr/include/zlib.h",
  openssl: "/usr/bin/openssl",
  strace: "/usr/bin/strace",
  zsh: "/usr/bin/zsh",
  fish: "/usr/bin/fish",
};

/** Installs what is missing, on Debian as root; the packages by the file that tells. */
export function installDebianPackages(packages: Record<string, string>): void {
  const missing = Object.entries(packages)
    .filter(([, file]) => !fs.existsSync(file))
    .map(([name]) => name);
  const canInstall = fs.existsSync("/usr/bin/apt-get") && process.getuid?.() === 0;
  if (missing.length > 0 && canInstall) {
    const isUpdated = runTool("apt-get", ["update", "-qq"]);
    const install = ["install", "-y", "-qq", "--no-install-recommends", ...missing];
    if (!isUpdated || !runTool("apt-get", install, { DEBIAN_FRONTEND: "noninteractive" })) {
      throw new Error(`Set-up failed: apt-get did not install ${missing.join(", ")}`);
    }
  } else if (missing.length > 0) {
    console.error(`missing, and not Debian as root: ${missing.join(", ")}`);
  }
}

/** Installs the shim's compiler and headers, fetches the rest, and builds it. */
function buildShim(): void {
  installDebianPackages(DEBIAN_PACKAGES);
  try {
    fetchAccelerators();
  } catch (error) {
    console.error(`no tests of libqpl and libqatzip: ${(error as Error).message}`);
  }
  const make = ["-C", path.join(root, "native-shim"), "--no-print-directory", "all", "sim"];
  if (!runTool("make", make)) throw new Error("Set-up failed: make did not build the shim");
}

/** Everything the tests need. */
export function setUp(): void {
  installPackages();
  buildShim();
}
