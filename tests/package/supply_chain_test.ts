/** What this package makes others fetch and run: exact versions, locked, and nothing at install. */
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { DENO_VERSION, root } from "../_tools.ts";

// deno-lint-ignore no-explicit-any
const read = (file: string): any => JSON.parse(fs.readFileSync(path.join(root, file), "utf8"));

const EXACT = /^\d+\.\d+\.\d+$/;

test("every dependency has one exact version", () => {
  const { imports } = read("deno.json");
  for (const [name, specifier] of Object.entries<string>(imports)) {
    const [, version] = new RegExp(`^jsr:${name}@(.*)$`).exec(specifier) ?? [];
    assertMatch(version ?? specifier, EXACT);
  }
  const { dependencies = {}, devDependencies } = read("package.json");
  assertEquals(dependencies, {}, "Importers get nothing else");
  for (const version of Object.values<string>(devDependencies)) assertMatch(version, EXACT);
  assertMatch(DENO_VERSION, EXACT);
});

test("the lock files have every package with its hash, in the version that is asked for", () => {
  const { devDependencies } = read("package.json");
  const { packages } = read("package-lock.json");
  assertEquals(packages[""].devDependencies, devDependencies);
  const { npm, specifiers } = read("deno.lock");
  for (const [name, version] of Object.entries<string>(devDependencies)) {
    assertEquals(packages[`node_modules/${name}`].version, version);
    assertEquals(specifiers[`npm:${name}@${version}`], version);
  }
  const locked = Object.entries<{ integrity?: string }>(packages).filter(([place]) => place !== "");
  for (const [place, { integrity }] of [...locked, ...Object.entries<typeof packages>(npm)]) {
    assertMatch(integrity ?? `${place} has no hash`, /^sha512-/);
  }
});

test("nothing runs when this package is installed; of what tests it, Bun's own set-up does", () => {
  const { scripts, allowScripts } = read("package.json");
  const atInstall = /^(pre|post)?(install|prepare|pack|publish)|^dependencies$/;
  assertEquals(Object.keys(scripts).filter((name) => atInstall.test(name)), []);
  const { packages } = read("package-lock.json");
  const running = Object.entries<{ hasInstallScript?: boolean }>(packages)
    .filter(([, { hasInstallScript }]) => hasInstallScript)
    .map(([place]) => place.replace("node_modules/", ""));
  assertEquals(running, Object.keys(allowScripts));
  assertEquals(running, ["bun"]);
});

test("what CI and README start is Deno in the version that is pinned", () => {
  for (const file of [".ci/run", "README.md", "CONTRIBUTING.md"]) {
    const text = fs.readFileSync(path.join(root, file), "utf8");
    const versions = [...text.matchAll(/\bnpx -y deno(\S*)/g)].map(([, version]) => version);
    assert(versions.length > 0, file);
    for (const version of versions) assertEquals(version, `@${DENO_VERSION}`, file);
  }
});
