/** The parsers of files and of QEMU's monitor: mapped-ram, the manifest, QMP. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { assert, assertEquals } from "@std/assert";
import { ImageError } from "../../src/errors.ts";
import { LineSplitter, parseQmpMessage } from "../../src/qemu/qmp_message.ts";
import { makeManifest, parseManifest } from "../../src/ram/manifest.ts";
import { MappedRamSource } from "../../src/ram/mapped_ram_source.ts";
import { bitmapSize } from "../../src/protocol/mapped_ram.ts";
import { concat, only as eventsOf, PAGE, RAM_ID, text, u32 } from "../protocol/_build.ts";
import {
  type Entry,
  HEAD,
  mappedFile,
  MEBIBYTE,
  RAM_END,
  readMapped,
  TWO_BLOCKS,
} from "../protocol/_mapped_file.ts";
import { Random } from "../_random.ts";
import { damaged, damagedAtEnds, extremeNumber, pieces, withAnything } from "./_mutate.ts";
import { bytesOf, isRefusal, only, type Target } from "./_target.ts";

/** An entry with an extreme number in one field; the file itself is laid out as it should be. */
function extremeEntry(random: Random): Entry {
  const [entry] = TWO_BLOCKS as [Entry];
  return random.pick<() => Entry>([
    () => ({ ...entry, version: Number(extremeNumber(4, random)) }),
    () => ({ ...entry, pageSize: extremeNumber(8, random) }),
    () => ({ ...entry, bitmapOffset: extremeNumber(8, random) }),
    () => ({ ...entry, pagesOffset: extremeNumber(8, random) }),
    () => ({ ...entry, pagesOffset: BigInt(MEBIBYTE * random.below(5)) }),
    () => ({ ...entry, bitmap: random.bytes(8) }),
    () => ({ name: random.pick(["pc.ram", "vga.vram", ""]), usedLength: PAGE }),
    () => ({ ...entry, usedLength: random.pick([0, 1, PAGE, 64 * PAGE, 65 * PAGE]) }),
  ])();
}

function makeMappedFile(random: Random): Uint8Array {
  const [, second] = TWO_BLOCKS as [Entry, Entry];
  const kind = random.below(8);
  if (kind < 4) {
    const total = random.below(4) === 0 ? { total: extremeNumber(8, random) & ~0xfffn } : {};
    return mappedFile({ entries: [extremeEntry(random), second], ...total });
  }
  if (kind === 4) {
    return mappedFile({ end: concat(Uint8Array.from(RAM_END).slice(0, 13), u32(RAM_ID)) });
  }
  if (kind === 5) return mappedFile({ head: damaged(Uint8Array.from(HEAD), random) });
  // one block keeps the copies short
  const one = mappedFile({ entries: [{ usedLength: 10 * PAGE, bitmap: random.bytes(1) }] });
  return kind === 6 ? damagedAtEnds(one, 200, random) : one;
}

/** Reads a file as the library does, from disk. */
function openMapped(bytes: Uint8Array): void {
  const file = path.join(os.tmpdir(), `multifd-fuzz-${process.pid}.mapped`);
  try {
    fs.writeFileSync(file, bytes);
    const source = new MappedRamSource(file, 64 * MEBIBYTE);
    try {
      for (const [i, { usedLength }] of source.blocks.entries()) {
        source.read(i, 0, new Uint8Array(usedLength));
      }
    } finally {
      source.close();
    }
  } finally {
    fs.rmSync(file, { force: true });
  }
}

const mappedRam: Target = {
  name: "mapped-ram",
  generate: (random) => only(makeMappedFile(random), { onDisk: random.below(8) === 0 }),
  run(input) {
    const bytes = bytesOf(input);
    if (input.options.onDisk) return openMapped(bytes);
    let last = 0;
    for (const { usedLength, pagesOffset, bitmap } of eventsOf(readMapped(bytes), "mapped-pages")) {
      assert(pagesOffset >= last && pagesOffset % MEBIBYTE === 0, `pages at ${pagesOffset}`);
      assertEquals(bitmap.length, bitmapSize(usedLength / PAGE));
      last = pagesOffset + usedLength;
      assert(last <= bytes.length, "pages past the end of the file");
    }
  },
};

const HASH = "0123456789abcdef".repeat(4);
const MANIFEST = makeManifest({
  machine: "pc-q35-10.0",
  uuid: "00000000-0000-0000-0000-000000000000",
  "page-size": 4096,
  blocks: ["pc.ram", "pc.bios"].map((name) => ({
    ...{ name, file: name, "used-length": 8192, sha256: HASH, "missing-pages": 0 },
  })),
  "device-state": { file: "device-state.bin", bytes: 10, sha256: HASH, "vmdesc-bytes": 2 },
  counters: { sync: "round", "repeated-pages": 1, rounds: [{ normal: 1, duplicate: 2 }] },
  source: { "qemu-version": "10.0.2", capabilities: ["multifd"] },
});
const MANIFEST_KEYS = ["file", "name", "blocks", "sha256", "used-length", "rounds", "__proto__"];

const manifest: Target = {
  name: "manifest",
  // it is a file of ours, no peer's
  refuses: (error) => error instanceof ImageError,
  generate(random) {
    let changed: unknown = MANIFEST;
    for (let i = random.below(3); i > 0; i--) {
      changed = withAnything(changed, random, MANIFEST_KEYS);
    }
    const json = text(JSON.stringify(changed));
    return only(random.below(8) === 0 ? damaged(json, random) : json);
  },
  run(input) {
    const { blocks, "page-size": pageSize } = parseManifest(
      new TextDecoder().decode(bytesOf(input)),
      "manifest",
    );
    const files = blocks.map(({ file }) => file);
    assertEquals(new Set(files).size, files.length);
    for (const { file, "used-length": length } of blocks) {
      assertEquals(path.basename(path.join("image", file)), file);
      assertEquals(path.dirname(path.join("image", file)), "image");
      assert(length >= 0 && length % pageSize === 0);
    }
  },
};

const QMP_LINES = [
  { QMP: { version: { qemu: { major: 10, minor: 0, micro: 2 }, package: "x" }, capabilities: [] } },
  { return: {}, id: 1 },
  { error: { class: "GenericError", desc: "no" }, id: 2 },
  { event: "STOP", data: {}, timestamp: { seconds: 1, microseconds: 2 } },
];
const QMP_KEYS = ["QMP", "version", "qemu", "return", "error", "event", "data", "id", "class"];

const qmp: Target = {
  name: "qmp",
  generate(random) {
    const lines = Array.from({ length: 1 + random.below(3) }, () => {
      const line = random.pick(QMP_LINES);
      return JSON.stringify(random.below(2) === 0 ? line : withAnything(line, random, QMP_KEYS));
    });
    const bytes = text(lines.map((line) => `${line}\r\n`).join(""));
    return only(random.below(3) === 0 ? damaged(bytes, random) : bytes, { split: random.u32() });
  },
  run(input) {
    const random = new Random(input.options.split as number);
    const lines = splitLines([bytesOf(input)]);
    assertEquals(splitLines(pieces(bytesOf(input), 30, random)).lines, lines.lines);
    for (const line of lines.lines) parseQmpMessage(line);
    if (lines.error !== undefined) throw lines.error;
  },
};

/** The lines up to an error. */
function splitLines(chunks: Iterable<Uint8Array>): { lines: string[]; error?: unknown } {
  const splitter = new LineSplitter();
  const lines: string[] = [];
  try {
    for (const chunk of chunks) lines.push(...splitter.push(chunk));
    return { lines };
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return { lines: [], error };
  }
}

/** mapped-ram files, the manifest, QMP. */
export const FILE_TARGETS: readonly Target[] = [mappedRam, manifest, qmp];
