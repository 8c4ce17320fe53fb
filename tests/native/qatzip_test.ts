/**
 * qatzip.c under the sanitizers: with simulated devices that misbehave, and with the real
 * libqatzip in software, where the system or native-shim/vendor has it.
 */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assertEquals, assertMatch } from "@std/assert";

const here = path.dirname(fileURLToPath(import.meta.url));
const shim = path.join(here, "..", "..", "native-shim");
const vendor = path.join(shim, "vendor");

const FLAGS = [
  ...["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-g", "-O1"],
  `-DTHOROUGH=${"SCHEDULES" in process.env}`,
];
const ADDRESS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
const THREAD = ["-fsanitize=thread"];
const SIMULATED = [
  "-DMULTIFD_SIM",
  path.join(shim, "qatzip.c"),
  path.join(shim, "sim", "qatzip_sim.c"),
  path.join(shim, "sim", "device.c"),
];
const CHECK = path.join(here, "qatzip_check.c");
/** What libqat prints for each call that it has no device for; QATzip cannot silence it. */
const CHATTER = "Cannot open /dev/vfio\n";
const TIMEOUT = 120_000;

/** The compiler's flags for libqatzip, and why it is not tried; one of both. */
const [library, whyNot] = findLibrary();

function hasHeaders(names: string[], flags: string[]): boolean {
  const input = names.map((name) => `#include <${name}>\n`).join("");
  return spawnSync("cc", [...flags, "-E", "-"], { input }).status === 0;
}

function findLibrary(): [{ include: string[]; link: string[] }, false] | [undefined, string] {
  const names = ["qatzip.h", "zlib.h"];
  if (hasHeaders(names, [])) return [{ include: [], link: ["-lqatzip"] }, false];
  const include = [`-I${path.join(vendor, "include")}`];
  if (!hasHeaders(names, include)) return [undefined, "qatzip.h, zlib.h or cc is missing"];
  const lib = path.join(vendor, "lib");
  const rpath = `-Wl,--disable-new-dtags,-rpath,${lib}`;
  return [{ include, link: [`-L${lib}`, rpath, "-l:libqatzip.so.3"] }, false];
}

function run(command: string, args: string[]): { stdout: string; stderr: string } {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: shim,
    encoding: "utf8",
    env: { ...process.env, ASAN_OPTIONS: "detect_leaks=1", TSAN_OPTIONS: "halt_on_error=1" },
  });
  if (error) throw error;
  assertEquals(status, 0, `${path.basename(command)}: ${stderr}`);
  return { stdout, stderr };
}

/** Gives a directory that is there only as long as it is used. */
function withDirectory(use: (directory: string) => void): void {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-qatzip-"));
  try {
    use(directory);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

/** Builds a check and runs it; what it says, on standard output alone. */
function buildAndRun(sanitizer: string[], sources: string[], args: string[]): string {
  let said = "";
  withDirectory((directory) => {
    const binary = path.join(directory, "check");
    const link = ["-lz", "-lpthread"];
    run("cc", [...FLAGS, ...sanitizer, ...library!.include, "-o", binary, ...sources, ...link]);
    const { stdout, stderr } = run(binary, args);
    assertEquals(stderr, "");
    said = stdout;
  });
  return said;
}

/** What a check of schedules says: what became of the calls, and how often each fault fired. */
const SCHEDULES = new RegExp(
  ["encode", "decode"].map((direction) =>
    `${direction}: \\d+ done, \\d+ failed, faults( \\d+){7}, ` +
    "\\d+ packets corrupted, \\d+ caught, \\d+ slipped\n"
  ).join("") + "\\d{4,} checks\n$",
);

// it is C, and the same under every runtime
if ("Deno" in globalThis) {
  const options = { skip: whyNot, timeout: TIMEOUT };

  test("qatzip.c believes no simulated device, under AddressSanitizer", options, () => {
    assertMatch(
      buildAndRun(ADDRESS, [CHECK, ...SIMULATED], [process.env.SCHEDULES ?? "4"]),
      SCHEDULES,
    );
  });

  test("qatzip.c shares nothing between channels, under ThreadSanitizer", options, () => {
    assertMatch(buildAndRun(THREAD, [CHECK, ...SIMULATED], ["threads"]), /^\d{2,} checks\n$/);
  });

  test("qatzip.c keeps codec.h's promises in software that is simulated", options, () => {
    const sources = [path.join(here, "codec_check.c"), ...SIMULATED];
    assertMatch(buildAndRun(ADDRESS, sources, []), /^1 formats, \d{4,} checks, \d{3,} refused\n$/);
  });

  const whyNotOthers = hasHeaders(["isa-l/igzip_lib.h", "libdeflate.h"], [])
    ? whyNot
    : "the headers of ISA-L or libdeflate are missing";
  test("qatzip.c and the real libqatzip's software understand the other engines", {
    skip: whyNotOthers,
    timeout: TIMEOUT,
  }, () => {
    withDirectory((directory) => {
      const others = ["isal", "libdeflate"].map((name) => path.join(directory, `${name}.so`));
      run("make", ["-s", `OUT=${directory}`, ...others]);
      const binary = path.join(directory, "check");
      const sources = [CHECK, path.join(shim, "qatzip.c")];
      const { include, link } = library!;
      run("cc", [
        ...[...FLAGS, ...ADDRESS, "-DCHECK_REAL", ...include, "-o", binary, ...sources],
        ...[...link, "-lz", "-lpthread"],
      ]);
      const { stdout, stderr } = run(binary, others);
      assertMatch(stdout, /^device -?\d+, \d{2,3} calls, \d{3,} checks\n$/);
      // the shim itself and QATzip print nothing
      assertEquals(stderr.replaceAll(CHATTER, ""), "");
    });
  });
}
