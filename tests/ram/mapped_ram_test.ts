import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ImageError, type RamSource, UnsupportedError, VerificationError } from "../../mod.ts";
import { emptyVmTail } from "../../src/protocol/main_channel_writer.ts";
import { GuestRam } from "../../src/ram/guest_ram.ts";
import { isMigrationFile, MappedRamSource } from "../../src/ram/mapped_ram_source.ts";
import { MappedRamTarget } from "../../src/ram/mapped_ram_target.ts";
import { PageSet } from "../../src/ram/page_set.ts";
import { SharedRamAccess } from "../../src/ram/shared_ram.ts";
import type { FinishedBlock, ReceivedVm } from "../../src/ram/target.ts";
import { WriteTurn } from "../../src/ram/write_turn.ts";
import { temporaryDirectory } from "../migration/_migrate.ts";
import { concat, configuration } from "../protocol/_build.ts";
import { mappedFile } from "../protocol/_mapped_file.ts";

const PAGE = 4096;
const testdata = path.join(path.dirname(fileURLToPath(import.meta.url)), "../testdata/mapped-ram");

/** Runs with a directory that is removed afterwards. */
async function within(run: (directory: string) => void | Promise<void>): Promise<void> {
  const directory = temporaryDirectory();
  try {
    await run(directory);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

/** All of a block, read in pieces of so many bytes. */
function readBlock(source: Pick<RamSource, "blocks" | "read">, block: number, piece: number) {
  const bytes = new Uint8Array(source.blocks[block]!.usedLength);
  for (let at = 0; at < bytes.length; at += piece) {
    source.read(block, at, bytes.subarray(at, at + piece));
  }
  return bytes;
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

// files of QEMU's

const expected = JSON.parse(fs.readFileSync(path.join(testdata, "expected.json"), "utf8"));

for (const name of ["qemu-10.0", "qemu-10.0-multifd"]) {
  test(`MappedRamSource reads the memory that the guest of ${name} had`, () =>
    within((directory) => {
      const file = path.join(directory, "vm");
      const bytes = gunzipSync(fs.readFileSync(path.join(testdata, `${name}.gz`)));
      fs.writeFileSync(file, bytes);
      const source = new MappedRamSource(file);
      assertEquals(source.machine, "pc-i440fx-10.0");
      assertEquals(source.uuid!.at(-1), 3);
      assertEquals(source.capabilities, ["mapped-ram"]);
      assert(source.tail.devices.some(({ name }) => name === "cpu_common"));
      const bios = source.blocks.findIndex(({ name }) => name === "pc.bios");
      assertEquals(sha256(readBlock(source, bios, PAGE)), expected["pc.bios"]);
      assertEquals(source.blocks[0], { name: "pc.ram", usedLength: 4 * 2 ** 20 });
      const ram = readBlock(source, 0, 512 * 1024);
      assertEquals(sha256(ram), expected[name]["pc.ram"]);

      // what QEMU left in the file is not believed, by a worker neither
      let stale = 0;
      for (let at = 0; at < ram.length; at += PAGE) {
        const left = bytes.subarray(2 ** 20 + at, 2 ** 20 + at + PAGE).some((byte) => byte !== 0);
        if (left && ram.subarray(at, at + PAGE).every((byte) => byte === 0)) stale++;
      }
      assertEquals(stale, expected[name].stale);
      const access = new SharedRamAccess(source.share(), source.blocks);
      assertEquals(sha256(readBlock(access, 0, 512 * 1024)), expected[name]["pc.ram"]);
      access.close();
      source.verifyUnchanged();
      source.close();
    }));
}

// files of ours

const BLOCKS = [{ name: "pc.ram", usedLength: 200 * PAGE }, { name: "rom", usedLength: 2 * PAGE }];
const FINISHED: FinishedBlock[] = BLOCKS.map((block) => ({
  ...block,
  sha256: undefined,
  missing: 0,
}));
const VM: ReceivedVm = {
  machine: "pc-q35-10.0",
  uuid: new Uint8Array(16).fill(7),
  pageSize: PAGE,
  tail: { bytes: emptyVmTail(), descriptionBytes: 2, devices: [] },
  counters: {},
};

function pageOf(byte: number): Uint8Array {
  return new Uint8Array(PAGE).fill(byte);
}

/** Writes through a GuestRam what a migration would: data, zeros, and zeros over data. */
function fill(ram: GuestRam): void {
  ram.writePages("pc.ram", Float64Array.of(0, PAGE), new Uint8Array(2 * PAGE).fill(1));
  ram.writePages("pc.ram", Float64Array.of(199 * PAGE), pageOf(2));
  ram.zeroPages("pc.ram", Float64Array.of(2 * PAGE, PAGE));
  ram.writePages("rom", Float64Array.of(PAGE), pageOf(3));
}

/** What {@linkcode fill} leaves in a block. */
function filled(block: number): Uint8Array {
  const bytes = new Uint8Array(BLOCKS[block]!.usedLength);
  if (block === 0) bytes.fill(1, 0, PAGE).fill(2, 199 * PAGE);
  else bytes.fill(3, PAGE);
  return bytes;
}

for (const writer of ["this thread", "a worker's files"]) {
  test(`MappedRamTarget makes a file that MappedRamSource reads, written by ${writer}`, () =>
    within(async (directory) => {
      const file = path.join(directory, "vm");
      const target = new MappedRamTarget(file, true);
      target.create(BLOCKS, PAGE);
      const access = writer === "this thread"
        ? undefined
        : new SharedRamAccess(target.share(), BLOCKS, new WriteTurn());
      fill(new GuestRam(BLOCKS, PAGE, access ?? target));
      access?.close();
      assertEquals(fs.readdirSync(directory), [`vm.partial-${process.pid}`]);
      await target.writeBack();
      const finished = await target.finish(VM, FINISHED);
      assertEquals(fs.readdirSync(directory), ["vm"]);
      assertEquals(finished.map(({ sha256 }) => sha256), [0, 1].map((i) => sha256(filled(i))));

      assert(isMigrationFile(file));
      const source = new MappedRamSource(file);
      const { blocks, machine, uuid, pageSize, deviceState } = source;
      assertEquals([...blocks], BLOCKS);
      assertEquals({ machine, uuid, pageSize, deviceState }, {
        machine: VM.machine,
        uuid: VM.uuid,
        pageSize: PAGE,
        deviceState: emptyVmTail(),
      });
      // a page that was zeroed keeps its bit, one that never had data has none
      assertEquals(source.presentPages, [3, 1]);
      for (const i of [0, 1]) assertEquals(sha256(readBlock(source, i, PAGE)), sha256(filled(i)));
      source.close();
    }));
}

test("MappedRamTarget leaves holes where pages are zero", () =>
  within(async (directory) => {
    const file = path.join(directory, "vm");
    const target = new MappedRamTarget(file, false);
    const blocks = [{ name: "pc.ram", usedLength: 64 * 2 ** 20 }];
    target.create(blocks, PAGE);
    const ram = new GuestRam(blocks, PAGE, target);
    ram.zeroPages("pc.ram", Float64Array.from({ length: 16384 }, (_, i) => i * PAGE));
    const [block] = await target.finish(VM, [{ ...blocks[0]!, sha256: undefined, missing: 0 }]);
    assertEquals(block!.sha256, undefined);
    const { size, blocks: sectors } = fs.statSync(file);
    assert(size > 64 * 2 ** 20 && sectors * 512 < 2 ** 20, `${sectors} sectors`);
  }));

test("MappedRamTarget is for the user's eyes only, as QEMU's files are", () =>
  within(async (directory) => {
    const file = path.join(directory, "vm");
    const target = new MappedRamTarget(file, false);
    target.create(BLOCKS, PAGE);
    await target.finish(VM, FINISHED);
    assertEquals(fs.statSync(file).mode & 0o777, 0o600);
  }));

test("MappedRamTarget refuses a name that is taken, even by a link to nothing", () =>
  within((directory) => {
    const file = path.join(directory, "vm");
    fs.writeFileSync(file, "precious");
    assertThrows(() => new MappedRamTarget(file, true), ImageError, "it exists");
    assertEquals(fs.readFileSync(file, "utf8"), "precious");
    const link = path.join(directory, "link");
    fs.symlinkSync(path.join(directory, "nothing"), link);
    assertThrows(() => new MappedRamTarget(link, true), ImageError, "it exists");
    assertEquals(fs.readdirSync(directory).sort(), ["link", "vm"]);
  }));

test("MappedRamTarget keeps a file that takes its name meanwhile", () =>
  within(async (directory) => {
    const file = path.join(directory, "vm");
    const target = new MappedRamTarget(file, true);
    target.create(BLOCKS, PAGE);
    fs.writeFileSync(file, "precious");
    const error = await assertRejects(() => target.finish(VM, FINISHED), ImageError, "vm");
    assertEquals(error.facts.code, "EEXIST");
    target.discard();
    assertEquals(fs.readdirSync(directory), ["vm"]);
    assertEquals(fs.readFileSync(file, "utf8"), "precious");
  }));

test("MappedRamTarget leaves nothing behind when it is discarded, named or not", () =>
  within(async (directory) => {
    for (const isFinished of [false, true]) {
      const target = new MappedRamTarget(path.join(directory, "vm"), true);
      target.create(BLOCKS, PAGE);
      if (isFinished) await target.finish(VM, FINISHED);
      target.discard();
      assertEquals(fs.readdirSync(directory), []);
    }
  }));

test("MappedRamTarget that is discarded while it finishes never gets its name", () =>
  within(async (directory) => {
    const target = new MappedRamTarget(path.join(directory, "vm"), true);
    target.create(BLOCKS, PAGE);
    const finished = target.finish(VM, FINISHED);
    target.discard();
    await assertRejects(() => finished, ImageError);
    assertEquals(fs.readdirSync(directory), []);
  }));

test("MappedRamTarget clears away what a dead process left, and only that", () =>
  within((directory) => {
    // no process has such a number; process 1 always lives
    const names = ["vm.partial-4194305", "vm.partial-1", "vm2.partial-4194305"];
    for (const name of names) fs.writeFileSync(path.join(directory, name), "");
    new MappedRamTarget(path.join(directory, "vm"), true).discard();
    assertEquals(fs.readdirSync(directory).sort(), names.slice(1).sort());
  }));

test("MappedRamTarget clears away the second name of a file that a dead process had named", () =>
  within((directory) => {
    const file = path.join(directory, "vm");
    fs.writeFileSync(`${file}.partial-4194305`, "whole");
    fs.linkSync(`${file}.partial-4194305`, file);
    assertThrows(() => new MappedRamTarget(file, true), ImageError, "it exists");
    assertEquals(fs.readdirSync(directory), ["vm"]);
    assertEquals(fs.readFileSync(file, "utf8"), "whole");
  }));

test("MappedRamTarget says where it cannot be made", () =>
  within((directory) => {
    const file = path.join(directory, "missing", "vm");
    const error = assertThrows(() => new MappedRamTarget(file, true), ImageError, "missing");
    assertEquals(error.facts.code, "ENOENT");
  }));

test("MappedRamTarget proves the hash that it is told", () =>
  within(async (directory) => {
    const target = new MappedRamTarget(path.join(directory, "vm"), true);
    target.create(BLOCKS, PAGE);
    fill(new GuestRam(BLOCKS, PAGE, target));
    const told = [{ ...FINISHED[0]!, sha256: sha256(filled(1)) }, FINISHED[1]!];
    const error = await assertRejects(() => target.finish(VM, told), VerificationError);
    assertEquals(error.facts.received, sha256(filled(0)));
    target.discard();
    assertEquals(fs.readdirSync(directory), []);
  }));

// what cannot be read

/** Files that are none, and what is said of each. */
const BAD_FILES: [
  string,
  Uint8Array,
  typeof VerificationError | typeof UnsupportedError,
  RegExp,
][] = [
  ["of nothing", new Uint8Array(0), VerificationError, /ends before the stream's magic/],
  ["of zeros", new Uint8Array(PAGE), VerificationError, /wrong magic/],
  ["that is cut short", mappedFile().slice(0, -1), VerificationError, /ends before the VM/],
  ["that goes on", concat(mappedFile(), [0]), VerificationError, /goes on after/],
  [
    "whose pages lie outside",
    mappedFile({ entries: [{ pagesOffset: 2n ** 40n }] }),
    VerificationError,
    /past the end of the file.*block "pc.ram"/,
  ],
  [
    "that is no mapped-ram file",
    mappedFile({ head: configuration("pc") }),
    UnsupportedError,
    /without the capability mapped-ram/,
  ],
];

for (const [what, bytes, ErrorClass, message] of BAD_FILES) {
  test(`MappedRamSource refuses a file ${what}, and names it`, () =>
    within((directory) => {
      const file = path.join(directory, "vm");
      fs.writeFileSync(file, bytes);
      const error = assertThrows(() => new MappedRamSource(file), ErrorClass, file);
      assert(message.test(error.message), error.message);
      assertEquals(error.facts.channel, undefined);
    }));
}

test("MappedRamSource refuses more RAM than is taken", () =>
  within((directory) => {
    const file = path.join(directory, "vm");
    fs.writeFileSync(file, mappedFile());
    assertThrows(() => new MappedRamSource(file, 11 * PAGE), VerificationError, "--max-ram");
    new MappedRamSource(file, 12 * PAGE).close();
  }));

test("MappedRamSource notices a file that changes or shrinks while it is read", () =>
  within((directory) => {
    const file = path.join(directory, "vm");
    fs.writeFileSync(file, mappedFile());
    const source = new MappedRamSource(file);
    source.verifyUnchanged();
    fs.truncateSync(file, 2 ** 20);
    const read = (): void => source.read(0, PAGE, new Uint8Array(PAGE));
    const error = assertThrows(read, ImageError, "truncated");
    assertEquals([error.facts.block, error.facts.offset], ["pc.ram", PAGE]);
    assertThrows(() => source.verifyUnchanged(), ImageError, "changed while it was read");
    source.close();
  }));

test("isMigrationFile() knows a stream by its first eight bytes", () =>
  within((directory) => {
    const file = path.join(directory, "vm");
    assertEquals(isMigrationFile(file), false);
    assertEquals(isMigrationFile(directory), false);
    for (
      const [start, expected] of [["QEVM\0\0\0\x03", true], ["QEVM\0\0\0\x02", false], [
        "QEVM",
        false,
      ]] as const
    ) {
      fs.writeFileSync(file, start);
      assertEquals(isMigrationFile(file), expected);
    }
  }));

test("PageSet is read from a bitmap as it was written", () => {
  const set = new PageSet(100);
  for (const page of [0, 9, 31, 32, 99]) set.add(page);
  const bitmap = new Uint8Array(16);
  set.toBitmap(bitmap);
  assertEquals([...bitmap], [1, 2, 0, 128, 1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0]);
  const again = new PageSet(100);
  again.fromBitmap(bitmap);
  assertEquals(again.count, 5);
  assertEquals([0, 1, 9, 31, 32, 33, 98, 99].map((page) => again.has(page)), [
    ...[true, false, true, true, true, false, false, true],
  ]);
});
