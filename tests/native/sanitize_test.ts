/** The shim under AddressSanitizer, UndefinedBehaviorSanitizer and LeakSanitizer. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assertEquals, assertMatch, assertThrows } from "@std/assert";

const here = path.dirname(fileURLToPath(import.meta.url));
const shim = path.join(here, "..", "..", "native-shim");

const FLAGS = [
  "-fsanitize=address,undefined",
  "-fno-sanitize-recover=all",
  "-std=c11",
  "-D_GNU_SOURCE",
  "-Wall",
  "-Wextra",
  "-Werror",
  "-g",
  "-O1",
  `-DTHOROUGH=${"SCHEDULES" in process.env}`,
];

const LIBRARIES = [
  { name: "isal", header: "isa-l/igzip_lib.h", options: [], link: "-lisal" },
  {
    name: "libdeflate",
    header: "libdeflate.h",
    options: ["-DCHECK_LIBDEFLATE"],
    link: "-ldeflate",
  },
  { name: "zstd", header: "zstd.h", options: [], link: "-lzstd" },
];

/** Why a library cannot be tried here; undefined where it can. */
function whyNot(header: string): string | undefined {
  const probe = spawnSync("cc", ["-E", "-"], { input: `#include <${header}>\n` });
  if (probe.error) return "cc is missing";
  return probe.status === 0 ? undefined : `${header} is missing`;
}

function run(command: string, args: string[], directory: string): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: directory,
    encoding: "utf8",
    env: { ...process.env, ASAN_OPTIONS: "detect_leaks=1" },
  });
  if (error) throw error;
  assertEquals(status, 0, `${path.basename(command)}: ${stderr}`);
  return stdout;
}

/** Builds a check with the sanitizers and runs it; what it says. */
function buildAndRun(name: string, args: string[]): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-sanitize-"));
  try {
    const binary = path.join(directory, name);
    run("cc", [...FLAGS, "-o", binary, ...args], directory);
    return run(binary, [], directory);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

// it is C, and the same under every runtime
if ("Deno" in globalThis) {
  for (const name of ["io", "files", "pages"]) {
    const skip = whyNot("stdio.h") ?? false;
    test(`${name}.c keeps io.h's promises under the sanitizers`, { skip }, () => {
      const sources = [path.join(here, `${name}_check.c`), path.join(shim, `${name}.c`)];
      assertMatch(buildAndRun(name, sources), /^\d{4,} checks\n$/);
    });
  }

  for (const { name, header, options, link } of LIBRARIES) {
    const skip = whyNot(header) ?? false;
    test(`the ${name} codec keeps codec.h's promises under the sanitizers`, { skip }, () => {
      const sources = [
        path.join(here, "codec_check.c"),
        path.join(shim, `${name}.c`),
        path.join(shim, "software.c"),
      ];
      const said = buildAndRun(name, [...options, ...sources, link]);
      assertMatch(said, /^\d formats, \d{4,} checks, \d{3,} refused\n$/);
    });
  }

  test("LeakSanitizer finds a leak that was planted, and none without it", {
    skip: whyNot("zstd.h") ?? false,
  }, () => {
    const sources = ["leak_check.c", "zstd.c", "software.c"]
      .map((name) => path.join(name === "leak_check.c" ? here : shim, name));
    assertEquals(buildAndRun("sound", [...sources, "-lzstd"]), "");
    const leaky = (): string => buildAndRun("leaky", ["-DPLANTED", ...sources, "-lzstd"]);
    assertMatch(
      assertThrows(leaky, Error).message,
      /LeakSanitizer: detected memory leaks[^]*codec_open/,
    );
  });
}
