/** What a receiver tells of its rounds, and what its directory tells of it later. */
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ImageError, inspect } from "../../mod.ts";
import { MAX_ROUNDS, parseManifest } from "../../src/ram/manifest.ts";
import { Rounds } from "../../src/migration/rounds.ts";
import { temporaryDirectory, TRANSPORTS } from "./_migrate.ts";
import { join, makeScript, packet, pagesPacket, receiveScript } from "./_script.ts";

const PAGE = 4096;
const SOURCE = { "qemu-version": "10.0.13", capabilities: ["multifd", "return-path"] };

for (const transport of TRANSPORTS) {
  for (const mode of ["round", "section"] as const) {
    test(`receive() on ${transport} sockets counts the pages up to each sync per ${mode}`, async () => {
      const directory = temporaryDirectory();
      const out = path.join(directory, "vm");
      const script = makeScript(mode);
      const [first, second] = script.channels;
      // after the first pass one page again, and one that is zero now
      first!.partSync = join(first!.partSync, pagesPacket(8, [0], 7));
      second!.partSync = join(
        second!.partSync,
        packet({ packetNum: 9, offsets: Float64Array.of(2 * PAGE), zeroPages: 1 }),
      );
      const { received } = await receiveScript(script, { into: out, transport, source: SOURCE });
      const { rounds, repeatedPages, ram } = await received;
      assertEquals(rounds, [
        { normal: 0, duplicate: 0 },
        { normal: 4, duplicate: 0 },
        { normal: 1, duplicate: 1 },
      ]);
      assertEquals([ram.dirtySyncCount, repeatedPages], [3, 2]);
      const report = await inspect(out);
      assert(report.kind === "directory" && report.isVerified);
      const { counters } = report;
      assertEquals(counters.sync, mode);
      assertEquals(counters.rounds, rounds);
      assertEquals(counters["repeated-pages"], 2);
      assertEquals(report.source, SOURCE);
      fs.rmSync(directory, { recursive: true });
    });
  }
}

test("Rounds adds what follows the last round that fits to it", () => {
  const rounds = new Rounds();
  for (let i = 1; i <= MAX_ROUNDS + 2; i++) rounds.end({ normal: 3 * i, duplicate: i });
  assertEquals(rounds.count, MAX_ROUNDS + 2);
  assertEquals(rounds.list.length, MAX_ROUNDS);
  assertEquals(rounds.list[0], { normal: 3, duplicate: 1 });
  assertEquals(rounds.list.at(-1), { normal: 9, duplicate: 3 });
});

const MANIFEST = {
  format: "multifd-image",
  version: 1,
  machine: "pc-q35-10.0",
  uuid: "00000000-0000-0000-0000-000000000000",
  "page-size": PAGE,
  blocks: [
    { name: "pc.ram", file: "pc.ram", "used-length": PAGE, sha256: null, "missing-pages": 0 },
  ],
  "device-state": {
    file: "device-state.bin",
    bytes: 9,
    sha256: "0".repeat(64),
    "vmdesc-bytes": 2,
  },
  counters: { method: "none", sync: "round", rounds: [{ normal: 1, duplicate: 0 }] },
  source: SOURCE,
};

test("parseManifest() takes a manifest, and one without what was added later", () => {
  assertEquals(parseManifest(JSON.stringify(MANIFEST), "m"), MANIFEST as never);
  const { source: _, ...before } = { ...MANIFEST, counters: { method: "none" } };
  assertEquals(parseManifest(JSON.stringify(before), "m"), before as never);
});

const BAD: [string, Record<string, unknown>][] = [
  ["counters", { counters: null }],
  ["sync", { counters: { sync: "page" } }],
  ["rounds", { counters: { rounds: 3 } }],
  ["rounds", { counters: { rounds: [null] } }],
  ["rounds", { counters: { rounds: [{ normal: 1 }] } }],
  ["rounds", { counters: { rounds: [{ normal: -1, duplicate: 0 }] } }],
  ["rounds", { counters: { rounds: [{ normal: 0.5, duplicate: 0 }] } }],
  ["rounds", { counters: { rounds: Array(MAX_ROUNDS + 1).fill({ normal: 1, duplicate: 0 }) } }],
  ["repeated-pages", { counters: { "repeated-pages": "many" } }],
  ["qemu-version", { source: { capabilities: [] } }],
  ["qemu-version", { source: null }],
  ["capabilities", { source: { "qemu-version": "10.0", capabilities: "multifd" } }],
  ["capabilities", { source: { "qemu-version": "10.0", capabilities: [1] } }],
];

for (const [what, change] of BAD) {
  const shown = JSON.stringify(change).slice(0, 60);
  test(`parseManifest() refuses ${what} in ${shown}`, () => {
    const text = JSON.stringify({ ...MANIFEST, ...change });
    const error = assertThrows(() => parseManifest(text, "m"), ImageError, "is not valid");
    assert(error.message.includes(what), error.message);
  });
}
