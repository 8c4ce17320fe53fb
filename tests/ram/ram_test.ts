import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ImageError } from "../../mod.ts";
import { blockFileName } from "../../src/ram/block_file_name.ts";
import { GuestRam } from "../../src/ram/guest_ram.ts";
import { ImageFiles } from "../../src/ram/image_files.ts";
import { formatUuid, makeManifest, parseManifest, parseUuid } from "../../src/ram/manifest.ts";
import { MemoryImage } from "../../src/ram/memory_image.ts";
import { PageSet } from "../../src/ram/page_set.ts";
import { SharedRamAccess } from "../../src/ram/shared_ram.ts";
import { runsOf } from "../../src/ram/target.ts";
import { isZeroPage } from "../../src/ram/zero_page.ts";
import { temporaryDirectory } from "../migration/_migrate.ts";

test("blockFileName() keeps plain names and hides the rest", () => {
  assertEquals(blockFileName("pc.ram", 0), "pc.ram");
  assertEquals(blockFileName("/rom@etc/acpi/tables", 0), "%2From@etc%2Facpi%2Ftables");
  assertEquals(blockFileName("..", 0), "%2E.");
  assertEquals(blockFileName("a\\b\n", 0), "a%5Cb%0A");
});

test("blockFileName() gives no two blocks one name, and none the directory's own", () => {
  const names = ["a/b", "a%2Fb", "a%2fb", ".a", "%2Ea", "migration.json", "Migration.json"];
  const long = "x".repeat(254);
  const files = [...names, `${long}a`, `${long}b`, "device-state.bin"].map(blockFileName);
  assertEquals(new Set(files).size, files.length);
  for (const file of files) {
    assert(/^[A-Za-z0-9_@%-][A-Za-z0-9._@%~-]*$/.test(file) && file.length <= 255, file);
    assert(!["migration.json", "device-state.bin"].includes(file), file);
  }
});

test("PageSet takes many pages at once as it takes each", () => {
  const pages = [0, 1, 31, 32, 33, 64, 64, 5, 1, 99, 31];
  const offsets = Float64Array.from(pages, (page) => page * 4096);
  const [one, all] = [new PageSet(100), new PageSet(100)];
  for (const set of [one, all]) set.add(5);
  const again = offsets.filter((offset) => !one.add(offset / 4096));
  const room = new Float64Array(offsets.length);
  const count = all.addAll(offsets, 4096, room);
  assertEquals(room.subarray(0, count), again);
  assertEquals(new Uint8Array(all.shared), new Uint8Array(one.shared));
});

test("PageSet counts each page once", () => {
  const set = new PageSet(20);
  assertEquals([set.add(0), set.add(19), set.add(19), set.count], [true, true, false, 2]);
});

test("isZeroPage() sees a single bit anywhere", () => {
  for (const size of [4096, 65536]) {
    for (const at of [0, 1, size / 2, size - 1]) {
      const page = new Uint8Array(size);
      assert(isZeroPage(page));
      page[at] = 1;
      assert(!isZeroPage(page), `${at}`);
    }
  }
});

test("GuestRam marks every page and writes zeros only over pages that came before", () => {
  const writes: number[][] = [];
  const target = new MemoryImage();
  const blocks = [{ name: "a", usedLength: 8 * 4096 }];
  target.create(blocks, 4096);
  const ram = new GuestRam(blocks, 4096, {
    write(block, offsets, pages) {
      writes.push([...offsets]);
      target.write(block, offsets, pages);
    },
  });
  const offsets = Float64Array.of(0, 4096, 8192, 20480, 16384);
  ram.writePages("a", offsets, new Uint8Array(5 * 4096).fill(1));
  assertEquals(ram.missing(), new Map([["a", 3]]));
  ram.zeroPages("a", Float64Array.of(12288, 24576, 28672, 0));
  assertEquals(writes, [[...offsets], [0]]);
  assertEquals([ram.missing().size, ram.repeated], [0, 1]);
  assertEquals(target.memory.get("a")![0], 0);
});

test("GuestRam of two threads is one", () => {
  const blocks = [{ name: "a", usedLength: 64 * 4096 }];
  const writer = { write() {} };
  const first = new GuestRam(blocks, 4096, writer);
  const second = new GuestRam(blocks, 4096, writer, first.received);
  first.zeroPages("a", Float64Array.of(0, 31 * 4096, 32 * 4096));
  second.zeroPages("a", Float64Array.of(33 * 4096, 0));
  assertEquals([first.missing().get("a"), second.repeated], [60, 1]);
});

test("runsOf() joins neighbours and nothing else", () => {
  const offsets = Float64Array.of(0, 4096, 8192, 20480, 16384);
  const runs = [...runsOf(offsets, new Uint8Array(5 * 4096))];
  assertEquals(runs.map(({ offset, bytes }) => [offset, bytes.length / 4096]), [
    [0, 3],
    [20480, 1],
    [16384, 1],
  ]);
});

function within(run: (directory: string) => void): void {
  const directory = temporaryDirectory();
  try {
    run(directory);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

test("ImageFiles names blocks by file and by NAME=FILE", () =>
  within((directory) => {
    const file = path.join(directory, "a=b.img");
    fs.writeFileSync(file, new Uint8Array(8192));
    assertEquals(new ImageFiles([file]).blocks, [{ name: "pc.ram", usedLength: 8192 }]);
    const image = new ImageFiles([`x=${file}`, `y=${file}`]);
    assertEquals(image.blocks.map(({ name }) => name), ["x", "y"]);
    image.close();
    assertThrows(() => new ImageFiles([file, file]), ImageError, 'two blocks named "pc.ram"');
    assertThrows(() => new ImageFiles(["/nowhere"]), ImageError, "Cannot open /nowhere");
    assertThrows(() => new ImageFiles([`x=${directory}`]), ImageError, "no regular file");
  }));

test("ImageFiles notices a file that changes or shrinks while it is sent", () =>
  within((directory) => {
    const file = path.join(directory, "a.img");
    fs.writeFileSync(file, new Uint8Array(8192));
    const image = new ImageFiles([file]);
    image.verifyUnchanged();
    fs.truncateSync(file, 4096);
    assertThrows(() => image.read(0, 4096, new Uint8Array(4096)), ImageError, "truncated");
    assertThrows(() => image.verifyUnchanged(), ImageError, "changed while it was read");
    image.close();
  }));

const MANIFEST = makeManifest({
  machine: "pc",
  uuid: formatUuid(new Uint8Array(16).fill(0x1f)),
  "page-size": 4096,
  blocks: [
    { name: "pc.ram", file: "pc.ram", "used-length": 8192, sha256: null, "missing-pages": 0 },
  ],
  "device-state": {
    file: "device-state.bin",
    bytes: 8,
    sha256: "0".repeat(64),
    "vmdesc-bytes": 2,
  },
  counters: {},
});

test("parseManifest() reads what makeManifest() made", () => {
  assertEquals(parseManifest(JSON.stringify(MANIFEST), "m"), MANIFEST);
  assertEquals(parseUuid(MANIFEST.uuid), new Uint8Array(16).fill(0x1f));
});

const block = MANIFEST.blocks[0]!;
const BAD_MANIFESTS: [string, unknown][] = [
  ["no JSON", undefined],
  ["null", null],
  ["another format", { ...MANIFEST, format: "x" }],
  ["another version", { ...MANIFEST, version: 2 }],
  ["no uuid", { ...MANIFEST, uuid: "x" }],
  ["an odd page size", { ...MANIFEST, "page-size": 1000 }],
  ["no blocks", { ...MANIFEST, blocks: [] }],
  ["a block twice", { ...MANIFEST, blocks: [block, { ...block, file: "b" }] }],
  ["a file twice", { ...MANIFEST, blocks: [block, { ...block, name: "b" }] }],
  ["a file elsewhere", { ...MANIFEST, blocks: [{ ...block, file: "../pc.ram" }] }],
  ["a hidden file", { ...MANIFEST, blocks: [{ ...block, file: ".." }] }],
  ["the manifest as a block", { ...MANIFEST, blocks: [{ ...block, file: "migration.json" }] }],
  ["half a page", { ...MANIFEST, blocks: [{ ...block, "used-length": 2048 }] }],
  ["a negative length", { ...MANIFEST, blocks: [{ ...block, "used-length": -4096 }] }],
  ["a hash that is none", { ...MANIFEST, blocks: [{ ...block, sha256: "x" }] }],
  ["no device state", { ...MANIFEST, "device-state": undefined }],
];

for (const [what, manifest] of BAD_MANIFESTS) {
  test(`parseManifest() refuses ${what}`, () => {
    const text = manifest === undefined ? "{" : JSON.stringify(manifest);
    assertThrows(() => parseManifest(text, "m"), ImageError, "Manifest m");
  });
}

test("SharedRamAccess reads the file that was opened, whatever has its name now", () => {
  const directory = temporaryDirectory();
  const file = path.join(directory, "guest.ram");
  fs.writeFileSync(file, new Uint8Array(8192).fill(1));
  const image = new ImageFiles([file]);
  fs.renameSync(file, path.join(directory, "old.ram"));
  fs.writeFileSync(file, new Uint8Array(8192).fill(2));
  const access = new SharedRamAccess(image.share(), image.blocks);
  const page = new Uint8Array(4096);
  access.read(0, 4096, page);
  assert(page.every((byte) => byte === 1));
  access.close();
  image.close();
  fs.rmSync(directory, { recursive: true });
});
