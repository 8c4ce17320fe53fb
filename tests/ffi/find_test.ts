/** Where the shim is looked for, and what the error tells to do. */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assertEquals, assertThrows } from "@std/assert";
import { buildCommand, cacheDirectory, findLibrary, shimDirectories } from "../../ffi/find.ts";
import { IO_SYMBOLS } from "../../ffi/symbols.ts";
import { EngineUnavailableError } from "../../src/errors.ts";
import { temporaryDirectory } from "../migration/_migrate.ts";
import { root } from "../_tools.ts";

const built = path.join(root, "native-shim", "build", "io.so");

/** Changes the environment for a while. */
function withEnvironment(variables: Record<string, string>, work: () => void): void {
  const before = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, variables);
  try {
    work();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

test("buildCommand() names the file where the module came from", () => {
  assertEquals(
    buildCommand("https://example.com/@multifd/multifd/0.1.0/ffi/find.ts?x=1"),
    "deno run -A https://example.com/@multifd/multifd/0.1.0/native-shim/build.ts",
  );
  const clone = "Deno" in globalThis
    ? "deno task build:native"
    : `bun ${path.join(root, "native-shim", "build.ts")}`;
  assertEquals(buildCommand(), clone);
});

test("cacheDirectory() ignores what is empty or relative", () => {
  withEnvironment({ XDG_CACHE_HOME: "/caches", HOME: "/home/user" }, () => {
    assertEquals(path.dirname(cacheDirectory()!), "/caches/multifd");
  });
  for (const cache of ["", "caches", "./caches"]) {
    withEnvironment({ XDG_CACHE_HOME: cache, HOME: "/home/user" }, () => {
      assertEquals(path.dirname(cacheDirectory()!), "/home/user/.cache/multifd");
    });
    withEnvironment({ XDG_CACHE_HOME: cache, HOME: "" }, () => {
      assertEquals(cacheDirectory(), undefined);
    });
  }
});

test("shimDirectories() starts with the one that is named, unless it is empty", () => {
  withEnvironment({ MULTIFD_SHIM_DIR: "/named" }, () => {
    assertEquals([...shimDirectories()][0], "/named");
  });
  withEnvironment({ MULTIFD_SHIM_DIR: "" }, () => {
    assertEquals([...shimDirectories()][0], path.join(root, "native-shim", "build"));
  });
});

test("findLibrary() passes over an object of another version", {
  skip: !fs.existsSync(built) && "io.so is missing",
}, () => {
  const directory = temporaryDirectory();
  const other = path.join(directory, "io.so");
  fs.copyFileSync(built, other);
  withEnvironment({ MULTIFD_SHIM_DIR: directory }, () => {
    assertEquals(findLibrary("io", IO_SYMBOLS).file, other);
    let looked = 0;
    assertEquals(findLibrary("io", IO_SYMBOLS, () => looked++ > 0).file, built);
    assertThrows(
      () => findLibrary("io", IO_SYMBOLS, () => false),
      EngineUnavailableError,
      `${other} is of another version`,
    );
  });
  fs.rmSync(directory, { recursive: true });
});
