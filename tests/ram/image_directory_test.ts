import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ImageError } from "../../mod.ts";
import { emptyVmTail } from "../../src/protocol/main_channel_writer.ts";
import { ImageDirectory } from "../../src/ram/image_directory.ts";
import type { ReceivedVm } from "../../src/ram/target.ts";
import { temporaryDirectory } from "../migration/_migrate.ts";

const BLOCKS = [{ name: "pc.ram", usedLength: 8192 }, { name: "../../etc/x", usedLength: 4096 }];
const FINISHED = BLOCKS.map((block) => ({ ...block, sha256: undefined, missing: 0 }));

const VM: ReceivedVm = {
  machine: "pc-q35-10.0",
  uuid: new Uint8Array(16),
  pageSize: 4096,
  tail: { bytes: emptyVmTail(), descriptionBytes: 2, devices: [] },
  counters: {},
};

/** Runs with a parent directory that is removed afterwards. */
async function within(run: (parent: string) => void | Promise<void>): Promise<void> {
  const parent = temporaryDirectory();
  try {
    await run(parent);
  } finally {
    fs.rmSync(parent, { recursive: true });
  }
}

test("ImageDirectory has its name only when it is finished", () =>
  within(async (parent) => {
    const directory = new ImageDirectory(path.join(parent, "vm"), true);
    directory.create(BLOCKS, 4096);
    directory.write(0, Float64Array.of(4096), new Uint8Array(4096).fill(7));
    assertEquals(fs.readdirSync(parent), [`vm.partial-${process.pid}`]);
    const blocks = await directory.finish(VM, FINISHED);
    assertEquals(fs.readdirSync(parent), ["vm"]);
    assertEquals(fs.readdirSync(path.join(parent, "vm")).sort(), [
      "%2E.%2F..%2Fetc%2Fx",
      "device-state.bin",
      "migration.json",
      "pc.ram",
    ]);
    assert(blocks.every(({ sha256 }) => /^[0-9a-f]{64}$/.test(sha256!)));
    assertEquals(fs.readFileSync(path.join(parent, "vm", "pc.ram"))[4096], 7);
  }));

test("ImageDirectory leaves nothing behind when it is discarded", () =>
  within((parent) => {
    const directory = new ImageDirectory(path.join(parent, "vm"), true);
    directory.create(BLOCKS, 4096);
    directory.discard();
    assertEquals(fs.readdirSync(parent), []);
  }));

test("ImageDirectory that is discarded while it finishes never gets its name", () =>
  within(async (parent) => {
    const directory = new ImageDirectory(path.join(parent, "vm"), true);
    directory.create(BLOCKS, 4096);
    const finished = directory.finish(VM, FINISHED);
    directory.discard();
    await assertRejects(() => finished, ImageError);
    assertEquals(fs.readdirSync(parent), []);
  }));

test("ImageDirectory refuses a name that is taken and touches nothing there", () =>
  within((parent) => {
    const taken = path.join(parent, "vm");
    fs.mkdirSync(taken);
    fs.writeFileSync(path.join(taken, "precious"), "1");
    assertThrows(() => new ImageDirectory(taken, true), ImageError, "exists and is not empty");
    fs.writeFileSync(path.join(parent, "file"), "1");
    assertThrows(() => new ImageDirectory(path.join(parent, "file"), true), ImageError);
    assertEquals(fs.readdirSync(taken), ["precious"]);
    assertEquals(fs.readdirSync(parent).sort(), ["file", "vm"]);
  }));

test("ImageDirectory takes the place of an empty directory", () =>
  within(async (parent) => {
    fs.mkdirSync(path.join(parent, "vm"));
    const directory = new ImageDirectory(path.join(parent, "vm"), false);
    directory.create(BLOCKS, 4096);
    const blocks = await directory.finish(VM, FINISHED);
    assertEquals(blocks[0]!.sha256, undefined);
    assertEquals(fs.readdirSync(parent), ["vm"]);
  }));

test("ImageDirectory clears away what a dead process left, and only that", () =>
  within((parent) => {
    // no process has such a number; process 1 always lives
    for (
      const name of ["vm.partial-4194305", "vm.partial-1", "vm.partial-x", "vm2.partial-4194305"]
    ) {
      fs.mkdirSync(path.join(parent, name));
    }
    new ImageDirectory(path.join(parent, "vm"), true).discard();
    assertEquals(fs.readdirSync(parent).sort(), [
      "vm.partial-1",
      "vm.partial-x",
      "vm2.partial-4194305",
    ]);
  }));

test("ImageDirectory clears away what an earlier process of its own number left", () =>
  within((parent) => {
    const vm = path.join(parent, "vm");
    const partial = `${vm}.partial-${process.pid}`;
    fs.mkdirSync(partial);
    fs.writeFileSync(path.join(partial, "old"), "");
    const first = new ImageDirectory(vm, true);
    first.create(BLOCKS, 4096);
    // what this process makes itself stays
    const error = assertThrows(() => new ImageDirectory(vm, true), ImageError);
    assertEquals(error.facts.code, "EEXIST");
    assertEquals(fs.readdirSync(partial).sort(), ["%2E.%2F..%2Fetc%2Fx", "pc.ram"]);
    first.discard();
    assertEquals(fs.readdirSync(parent), []);
  }));

test("ImageDirectory says where it cannot be made", () =>
  within((parent) => {
    const where = path.join(parent, "missing", "vm");
    const error = assertThrows(() => new ImageDirectory(where, true), ImageError, "missing");
    assertEquals(error.facts.code, "ENOENT");
  }));
