/**
 * qpl.c under the sanitizers: over a simulated device that misbehaves, and over the real libqpl
 * in software, where the system or native-shim/vendor has it.
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
const QPL = path.join(shim, "qpl.c");
const SIMULATED = [
  "-DMULTIFD_SIM",
  QPL,
  path.join(shim, "sim", "qpl_sim.c"),
  path.join(shim, "sim", "device.c"),
];
const QPL_CHECK = path.join(here, "qpl_check.c");
const CODEC_CHECK = path.join(here, "codec_check.c");
const CODEC_CHECKED = /^1 formats, \d{4,} checks, \d{3,} refused\n$/;
const TIMEOUT = 300_000;

function compiles(flags: string[], source: string, link: string[]): boolean {
  const args = [...flags, "-x", "c", "-", "-x", "none", ...link, "-o", "/dev/null"];
  return spawnSync("cc", args, { input: source }).status === 0;
}

/** How libqpl is compiled with and linked; undefined where it is not there. */
function findLibrary(): { include: string[]; link: string[] } | undefined {
  const source = "#include <qpl/qpl.h>\n#include <zlib.h>\nint main(void) { return 0; }\n";
  if (compiles([], source, ["-lqpl", "-lz"])) return { include: [], link: ["-lqpl"] };
  const include = [`-I${path.join(vendor, "include")}`];
  const link = [
    path.join(shim, "glibc_compat.c"),
    path.join(vendor, "lib", "libqpl.a"),
    ...["-lstdc++", "-ldl"],
  ];
  return compiles(include, source, [...link, "-lz"]) ? { include, link } : undefined;
}

const library = findLibrary();

function run(command: string, args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: "utf8",
    env: { ...process.env, ASAN_OPTIONS: "detect_leaks=1", TSAN_OPTIONS: "halt_on_error=1" },
  });
  if (error) throw error;
  assertEquals(status, 0, `${path.basename(command)}: ${stderr}`);
  return stdout;
}

/** Builds a check and runs it; what it says. */
function buildAndRun(sanitizer: string[], sources: string[], link: string[]): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-qpl-"));
  try {
    const binary = path.join(directory, "check");
    const flags = [...FLAGS, ...sanitizer, ...library!.include, "-o", binary];
    run("cc", [...flags, ...sources, ...link, "-lz", "-lpthread"]);
    return run(binary, []);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

// it is C, and the same under every runtime
if ("Deno" in globalThis) {
  const skip = library === undefined && "libqpl, zlib.h or cc is missing";
  const options = { skip, timeout: TIMEOUT };

  test("qpl.c gives every page through a simulated device, under AddressSanitizer", options, () => {
    const sources = [
      "-DCHECK_SIM",
      `-DSCHEDULES=${process.env.SCHEDULES ?? 8}`,
      QPL_CHECK,
      ...SIMULATED,
    ];
    assertMatch(buildAndRun(ADDRESS, sources, []), /^\d{5,} checks\n$/);
  });

  test("qpl.c shares nothing between channels, under ThreadSanitizer", options, () => {
    const sources = ["-DCHECK_SIM", "-DSCHEDULES=2", "-DTHREADS_ONLY=1", QPL_CHECK, ...SIMULATED];
    assertMatch(buildAndRun(THREAD, sources, []), /^\d{4,} checks\n$/);
  });

  test("qpl.c keeps codec.h's promises over a simulated device", options, () => {
    assertMatch(buildAndRun(ADDRESS, [CODEC_CHECK, ...SIMULATED], []), CODEC_CHECKED);
  });

  test("qpl.c keeps codec.h's promises over libqpl's software", options, () => {
    assertMatch(buildAndRun(ADDRESS, [CODEC_CHECK, QPL], library!.link), CODEC_CHECKED);
  });

  test("qpl.c over libqpl's software understands zlib, and zlib it", options, () => {
    const said = buildAndRun(ADDRESS, [QPL_CHECK, QPL], library!.link);
    assertMatch(said, /^\d{4,} checks, device \d+\n$/);
  });
}
