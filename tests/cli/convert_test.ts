/** The command on mapped-ram files, as a user runs it. */
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { temporaryDirectory } from "../migration/_migrate.ts";
import { here, moveBetween, onceOf, run, there } from "./_command.ts";

const packed = path.join(
  path.dirname(fileURLToPath(import.meta.url)),
  "../testdata/mapped-ram/qemu-10.0-multifd.gz",
);

interface Block {
  name: string;
  sha256: string;
  "present-pages"?: number;
}

/** Runs with a mapped-ram file of QEMU's and a place for more. */
async function withFile(run: (file: string, directory: string) => Promise<void>): Promise<void> {
  const directory = temporaryDirectory();
  const file = path.join(directory, "qemu");
  try {
    fs.writeFileSync(file, gunzipSync(fs.readFileSync(packed)));
    await run(file, directory);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

/** Runs the command with --json; what it printed. */
async function json(...args: string[]): Promise<{ blocks: Block[] } & Record<string, unknown>> {
  const { code, stdout, stderr } = await run(here, [...args, "--json"]);
  assertEquals(code, 0, stderr);
  return JSON.parse(stdout);
}

const hashes = ({ blocks }: { blocks: Block[] }): string[] =>
  blocks.map(({ name, sha256 }) => `${name} ${sha256}`);

test("multifd inspect tells what is in a mapped-ram file", () =>
  withFile(async (file) => {
    const report = await json("inspect", file);
    assertEquals(report.kind, "mapped-ram");
    assertEquals(report.uuid, "4d554c54-4946-4421-8000-000000000003");
    assertEquals(report.capabilities, ["mapped-ram"]);
    assertEquals(report.blocks[0]!["present-pages"], 11);
    const { code, stdout } = await run(here, ["inspect", file]);
    assertEquals(code, 0);
    assertMatch(
      stdout,
      /^mapped-ram file of pc-i440fx-10\.0, uuid 4d55.*capabilities mapped-ram$/m,
    );
    assertMatch(stdout, new RegExp(`^pc\\.ram +4\\.0 MiB +11 +${report.blocks[0]!.sha256}$`, "m"));
    assertMatch(stdout, /^cpu_common +1 +37$/m);
  }));

test("multifd convert makes a directory of a mapped-ram file, and a file of that", () =>
  withFile(async (file, directory) => {
    const inspected = await json("inspect", file);
    const [vm, back] = [path.join(directory, "vm"), path.join(directory, "back")];
    const made = await json("convert", file, "--out", vm);
    assertEquals([made.format, made.machine], ["directory", "pc-i440fx-10.0"]);
    assertEquals(hashes(made), hashes(inspected));
    assertEquals((await json("inspect", vm)).kind, "directory");
    const { code, stdout } = await run(here, ["convert", vm, "--out", back]);
    assertEquals(code, 0);
    assertStringIncludes(stdout, `made ${back}, a mapped-ram file of pc-i440fx-10.0`);
    assertEquals(hashes(await json("inspect", back)), hashes(inspected));
  }));

test("multifd send and recv --format mapped-ram move such files between the runtimes", () =>
  withFile(async (file, directory) => {
    const inspected = await json("inspect", file);
    const out = path.join(directory, "vm");
    const { sent, received } = await moveBetween(
      here,
      [file, "--channels", "4", "--json"],
      there,
      ["--format", "mapped-ram", out, "--json"],
    );
    assertEquals([sent.code, received.code], [0, 0], sent.stderr + received.stderr);
    assertEquals(hashes(JSON.parse(received.stdout)), hashes(inspected));
    const { blocks, machine, uuid } = await json("inspect", out);
    assertEquals(hashes({ blocks }), hashes(inspected));
    assertEquals([machine, uuid], [inspected.machine, inspected.uuid]);
  }));

test("multifd keeps files that are there, and says so", () =>
  withFile(async (file, directory) => {
    const taken = path.join(directory, "taken");
    fs.writeFileSync(taken, "precious");
    for (
      const args of [
        ["convert", file, "--format", "mapped-ram", "--out", taken],
        ["recv", "--format", "mapped-ram", taken],
        ["convert", file, "--out", taken],
      ]
    ) {
      const { code, stderr } = await run(here, args);
      assertEquals(code, 1);
      assertMatch(stderr, /: Cannot receive into .*taken: it exists/);
    }
    assertEquals(fs.readFileSync(taken, "utf8"), "precious");
    assertEquals(fs.readdirSync(directory).sort(), ["qemu", "taken"]);
  }));

test("multifd inspect and convert fail verification on a damaged mapped-ram file", () =>
  withFile(async (file, directory) => {
    fs.truncateSync(file, fs.statSync(file).size - 1);
    for (
      const args of [["inspect", file], ["convert", file, "--out", path.join(directory, "vm")]]
    ) {
      const { code, stderr } = await run(here, args);
      assertEquals(code, 4);
      assertStringIncludes(stderr, "ends before the VM description");
    }
    assertEquals(fs.readdirSync(directory), ["qemu"]);
  }));

/** Arguments that are none, and what is said of them. */
const USAGE: [string[], RegExp][] = [
  [["convert"], /SOURCE is missing/],
  [["convert", "vm"], /--out is missing/],
  [["convert", "vm", "more", "--out", "x"], /Argument more is one too many/],
  [["convert", "vm", "--out", "x", "--format", "qcow2"], /there are: directory, mapped-ram/],
  [["recv"], /--out is missing/],
  [["recv", "a", "b"], /Argument b is one too many/],
  [["recv", "a", "--out", "b"], /Argument a is one too many/],
];

for (const [args, message] of onceOf(USAGE)) {
  test(`multifd ${args.join(" ")} is told how to be used`, async () => {
    const { code, stdout, stderr } = await run(here, args);
    assertEquals(code, 2);
    assertEquals(stdout, "");
    assertMatch(stderr, message);
    assert(stderr.includes("--help"));
  });
}
