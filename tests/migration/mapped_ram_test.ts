/** mapped-ram files on the wire: received into, sent from, converted. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  CancelledError,
  convert,
  type FinishedBlock,
  ImageError,
  type ImageFormat,
  inspect,
  type MappedRamReport,
  OptionError,
  receive,
  VerificationError,
} from "../../mod.ts";
import { isZeroPage } from "../../src/ram/zero_page.ts";
import { guest, migrate, temporaryDirectory, TRANSPORTS } from "./_migrate.ts";

const testdata = path.join(path.dirname(fileURLToPath(import.meta.url)), "../testdata/mapped-ram");
const MAPPED = { format: "mapped-ram" } as const;

/** Runs with a directory that is removed afterwards. */
async function within(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = temporaryDirectory();
  try {
    await run(directory);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

function hashes(blocks: readonly FinishedBlock[]): unknown[] {
  return blocks.map(({ name, usedLength, sha256 }) => [name, usedLength, sha256]);
}

/** The same of an image in memory. */
function hashesOf(image: ReturnType<typeof guest>): unknown[] {
  return [...image.memory].map(([name, memory]) => [
    name,
    memory.length,
    createHash("sha256").update(memory).digest("hex"),
  ]);
}

/** How many pages of each block are not zero. */
function dataPages(image: ReturnType<typeof guest>): number[] {
  return [...image.memory.values()].map((memory) => {
    let count = 0;
    for (let at = 0; at < memory.length; at += 4096) {
      if (!isZeroPage(memory.subarray(at, at + 4096))) count++;
    }
    return count;
  });
}

async function inspectMapped(file: string): Promise<MappedRamReport> {
  const report = await inspect(file);
  assert(report.kind === "mapped-ram");
  return report;
}

/** A mapped-ram file of QEMU's with stale pages in it; its path. */
function qemuFile(directory: string): string {
  const file = path.join(directory, "qemu");
  fs.writeFileSync(file, gunzipSync(fs.readFileSync(path.join(testdata, "qemu-10.0.gz"))));
  return file;
}

for (const transport of TRANSPORTS) {
  for (const [method, zeroPages] of [["none", "multifd"], ["zstd", "legacy"]] as const) {
    const how = `${method} on ${transport} sockets, zero pages ${zeroPages}`;
    test(`receive() fills a mapped-ram file by ${how}, and send() sends it on`, () =>
      within(async (directory) => {
        const image = guest();
        const into = path.join(directory, "vm");
        const sendOptions = { transport, channels: 4, method, zeroPages };
        const { received } = await migrate(image, { ...sendOptions, machine: "pc" }, {
          ...MAPPED,
          into,
          transport,
          channels: 4,
        });
        assertEquals(hashes(received.blocks), hashesOf(image));
        assertEquals(fs.readdirSync(directory), ["vm"]);
        const report = await inspectMapped(into);
        assertEquals(hashes(report.blocks), hashesOf(image));
        assertEquals([report.machine, report.pageSize], ["pc", 4096]);
        assertEquals(report.blocks.map(({ presentPages }) => presentPages), dataPages(image));
        const onward = await migrate(into, sendOptions, { transport, channels: 4 });
        assertEquals(hashes(onward.received.blocks), hashesOf(image));
        assertEquals(onward.received.machine, "pc");
        assertEquals(onward.received.tail.bytes, report.tail.bytes);
      }));
  }

  test(`send() on ${transport} sockets sends the memory of QEMU's guest, not what it left`, () =>
    within(async (directory) => {
      const file = qemuFile(directory);
      const { received } = await migrate(file, { transport }, { transport });
      const { blocks, tail, machine, uuid } = await inspectMapped(file);
      assertEquals(hashes(received.blocks), hashes(blocks));
      assertEquals(received.tail.bytes, tail.bytes);
      assertEquals([received.machine, received.uuid], [machine, uuid]);
      const expected = JSON.parse(fs.readFileSync(path.join(testdata, "expected.json"), "utf8"));
      assertEquals(received.blocks[0]!.sha256, expected["qemu-10.0"]["pc.ram"]);
    }));

  test(`receive() on ${transport} sockets of pages of 16 KiB fills a mapped-ram file`, () =>
    within(async (directory) => {
      const image = guest(16384);
      const into = path.join(directory, "vm");
      await migrate(image, { transport }, { ...MAPPED, into, transport });
      const report = await inspectMapped(into);
      assertEquals(report.pageSize, 16384);
      assertEquals(hashes(report.blocks), hashesOf(image));
    }));
}

test("receive() into a mapped-ram file that is given up leaves nothing", () =>
  within(async (directory) => {
    const controller = new AbortController();
    const received = receive({
      ...MAPPED,
      listen: "127.0.0.1:0",
      into: path.join(directory, "vm"),
      signal: controller.signal,
      onEvent: () => controller.abort(),
    });
    await assertRejects(() => received, CancelledError);
    assertEquals(fs.readdirSync(directory), []);
  }));

test("receive() keeps a file that is there", () =>
  within(async (directory) => {
    const into = path.join(directory, "vm");
    fs.writeFileSync(into, "precious");
    const received = receive({ ...MAPPED, listen: "127.0.0.1:0", into });
    await assertRejects(() => received, ImageError, "it exists");
    assertEquals(fs.readFileSync(into, "utf8"), "precious");
  }));

test("receive() refuses a format that it does not know, and any for memory", async () => {
  const listen = "127.0.0.1:0";
  const format = "qcow2" as ImageFormat;
  await assertRejects(() => receive({ listen, into: "vm", format }), OptionError, "mapped-ram");
  await assertRejects(() => receive({ listen, into: guest(), ...MAPPED }), OptionError, "memory");
});

// convert

test("convert() turns a directory into a mapped-ram file and back without a change", () =>
  within(async (directory) => {
    const [first, file, second, copy] = ["first", "file", "second", "copy"].map((name) =>
      path.join(directory, name)
    ) as [string, string, string, string];
    const made = await convert({ source: qemuFile(directory), out: first });
    assertEquals(made.format, "directory");
    const there = await convert({ source: first, out: file });
    assertEquals(there.format, "mapped-ram");
    const back = await convert({ source: file, out: second });
    assertEquals(hashes(back.blocks), hashes(made.blocks));
    assertEquals(back.uuid, "4d554c54-4946-4421-8000-000000000003");
    assertEquals(fs.readdirSync(second), fs.readdirSync(first));
    for (const name of fs.readdirSync(first)) {
      const [a, b] = [first, second].map((image) => fs.readFileSync(path.join(image, name)));
      assert(a!.equals(b!), `${name} is the same`);
    }
    const again = await convert({ source: file, out: copy, ...MAPPED });
    assertEquals(again.format, "mapped-ram");
    assert(fs.readFileSync(copy).equals(fs.readFileSync(file)), "a copy is the same");
    assertEquals((await inspect(second)).kind, "directory");
  }));

test("convert() keeps what a manifest tells besides the RAM", () =>
  within(async (directory) => {
    const into = path.join(directory, "vm");
    await migrate(guest(), {}, { into });
    await convert({ source: into, out: path.join(directory, "copy"), format: "directory" });
    const [before, after] = ["vm", "copy"].map((name) =>
      fs.readFileSync(path.join(directory, name, "migration.json"), "utf8")
    );
    assertEquals(after, before);
  }));

test("convert() refuses a directory that differs from its manifest, and makes nothing", () =>
  within(async (directory) => {
    const source = path.join(directory, "vm");
    const { received } = await migrate(guest(), {}, { into: source });
    const ram = path.join(source, "pc.ram");
    const bytes = fs.readFileSync(ram);
    bytes[5]! ^= 1;
    fs.writeFileSync(ram, bytes);
    const converted = convert({ source, out: path.join(directory, "file") });
    const error = await assertRejects(() => converted, VerificationError, "sha256");
    assertEquals(error.facts.block, "pc.ram");
    assertEquals(error.facts.expected, received.blocks[0]!.sha256);
    assertEquals(fs.readdirSync(directory), ["vm"]);
  }));

test("convert() keeps what is there, and makes nothing when it is cancelled", () =>
  within(async (directory) => {
    const source = qemuFile(directory);
    const taken = path.join(directory, "taken");
    fs.writeFileSync(taken, "precious");
    await assertRejects(() => convert({ source, out: taken, ...MAPPED }), ImageError, "it exists");
    assertEquals(fs.readFileSync(taken, "utf8"), "precious");
    const signal = AbortSignal.abort();
    const out = path.join(directory, "out");
    await assertRejects(() => convert({ source, out, signal }), CancelledError);
    assertEquals(fs.readdirSync(directory).sort(), ["qemu", "taken"]);
  }));

test("convert() refuses what is no saved VM", () =>
  within(async (directory) => {
    const raw = path.join(directory, "raw");
    fs.writeFileSync(raw, new Uint8Array(8192));
    const out = path.join(directory, "out");
    await assertRejects(() => convert({ source: raw, out }), ImageError, "neither");
    const missing = path.join(directory, "missing");
    await assertRejects(() => convert({ source: missing, out }), ImageError, "neither");
    await assertRejects(() => inspect(raw), VerificationError, "wrong magic");
    assertEquals(fs.readdirSync(directory), ["raw"]);
  }));
