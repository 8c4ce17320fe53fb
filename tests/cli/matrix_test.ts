/** Two processes, two runtimes: this test's runtime receives what the other one sends. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { inspect } from "../../mod.ts";
import { mixedPages, temporaryDirectory } from "../migration/_migrate.ts";
import { bunPath, denoPath } from "../_tools.ts";
import { here, moveBetween, there } from "./_command.ts";

/** Where each side's sockets and codecs come from. */
type Side = "native" | "portable";

interface Row {
  method: string;
  sender: Side;
  receiver: Side;
  channels: number;
  sync: string;
  pageSize: number;
  zeroPages: string;
}

const CHANNELS = [1, 2, 3, 5, 8, 16];

/** What a row chooses of, but for the channels, which take turns. */
const CHOICES = {
  method: ["none", "zlib", "zstd", "qpl", "uadk", "qatzip"],
  sender: ["native", "portable"],
  receiver: ["native", "portable"],
  sync: ["round", "section"],
  pageSize: [4096, 65536],
  zeroPages: ["multifd", "legacy", "none"],
};

/** Every combination. */
function allRows(): Row[] {
  const rows = Object.entries(CHOICES).reduce(
    (rows, [name, values]) =>
      rows.flatMap((row) => values.map((value) => ({ ...row, [name]: value }))),
    [{}],
  );
  return rows as Row[];
}

/** Groups of so many choices; where zero pages travel is no matter of the method. */
function groupsOf(row: Row, size: number): string[] {
  let groups: string[][] = [[]];
  for (const name of Object.keys(CHOICES)) {
    groups = groups.flatMap((group) => [group, [...group, `${name} ${row[name as keyof Row]}`]]);
  }
  return groups.filter((group) => group.length === size).map((group) => group.join(", "))
    .filter((group) => !/method.*zeroPages/.test(group));
}

/**
 * Few rows that have every pair of choices: again and again the one with most that are missing,
 * and of several such the one with most missing groups of three.
 */
function pairwise(rows: Row[]): Row[] {
  const pairs = new Set(rows.flatMap((row) => groupsOf(row, 2)));
  const threes = new Set(rows.flatMap((row) => groupsOf(row, 3)));
  const count = (row: Row, size: number, missing: Set<string>): number =>
    groupsOf(row, size).filter((group) => missing.has(group)).length;
  const gain = (row: Row): number => 100 * count(row, 2, pairs) + count(row, 3, threes);
  const chosen: Row[] = [];
  while (pairs.size > 0) {
    const best = rows.reduce((best, row) => gain(row) > gain(best) ? row : best);
    chosen.push(best);
    for (const group of groupsOf(best, 2)) pairs.delete(group);
    for (const group of groupsOf(best, 3)) threes.delete(group);
  }
  return chosen;
}

const isAll = process.env.MATRIX === "all";
// of the few, one half from Deno to Bun and the other half back
const ROWS = (isAll ? allRows() : pairwise(allRows()))
  .map((row, i) => ({ ...row, channels: CHANNELS[(i + Math.floor(i / 6)) % 6]! }))
  .filter((_, i) => isAll || i % 2 === (here === "deno" ? 0 : 1));

const SIDE_OPTIONS: Record<Side, string[]> = {
  native: ["--transport", "native"],
  portable: ["--transport", "runtime", "--engine", "builtin"],
};
const ENCODERS: Record<string, string> = { zstd: "zstd" };
const DECODERS: Record<string, string> = { zstd: "zstd", zlib: "isal" };

/** The engine a side must report: the method's best one natively, else the runtime's own. */
function engineOf(side: Side, method: string, isSender: boolean): string {
  if (method === "none") return "none";
  if (side === "portable") return "builtin";
  return isSender ? ENCODERS[method] ?? "isal" : DECODERS[method] ?? "libdeflate";
}

/** Why the other runtime cannot be started, for the tests' names. */
const absent = here === "bun"
  ? denoPath() === undefined && "MULTIFD_TEST_DENO does not name a deno"
  : bunPath() === undefined && "node_modules has no bun";
const skip = absent !== false;
const between = `multifd send (${there}) to multifd recv (${here})${skip ? `: ${absent}` : ""}`;

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

for (const row of ROWS) {
  const name =
    `${row.method}, ${row.sender} to ${row.receiver}, ${row.channels} channels, sync per ${row.sync}, ` +
    `${row.pageSize} bytes a page, zero pages ${row.zeroPages}`;
  test(`${between}: ${name}`, { skip }, async () => {
    const directory = temporaryDirectory();
    const blocks = {
      "pc.ram": mixedPages(3 * 1024 * 1024 / row.pageSize, row.pageSize, 11),
      "0000:00:02.0/vga.vram": mixedPages(5, row.pageSize, 12),
    };
    const images = Object.entries(blocks).map(([block, bytes], i) => {
      const file = path.join(directory, `${i}.img`);
      fs.writeFileSync(file, bytes);
      return `${block}=${file}`;
    });
    const out = path.join(directory, "vm");
    const { sent, received } = await moveBetween(
      there,
      [
        ...images,
        ...["--method", row.method, "--channels", String(row.channels), "--sync", row.sync],
        ...["--page-size", String(row.pageSize), "--zero-pages", row.zeroPages, "--json"],
        ...SIDE_OPTIONS[row.sender],
      ],
      here,
      ["--out", out, "--json", ...SIDE_OPTIONS[row.receiver]],
    );
    assertEquals([sent.code, received.code], [0, 0], sent.stderr + received.stderr);
    const result = JSON.parse(received.stdout);
    for (const [side, outcome] of [[row.sender, sent], [row.receiver, received]] as const) {
      const { status, method, engine, transport, channels } = JSON.parse(outcome.stdout);
      assertEquals(
        [status, method, engine, transport, channels],
        [
          "completed",
          row.method,
          engineOf(side, row.method, outcome === sent),
          side === "native" ? "native" : "runtime",
          row.channels,
        ],
      );
    }
    assertEquals(JSON.parse(sent.stdout).ram.transferred, result.ram.transferred);
    const hashes = Object.entries(blocks).map(([block, bytes]) => [block, sha256(bytes)]);
    assertEquals(
      result.blocks.map((block: { name: string; sha256: string }) => [block.name, block.sha256]),
      hashes,
    );
    const inspected = await inspect(out);
    assert(inspected.kind === "directory" && inspected.isVerified);
    assertEquals(inspected.blocks.length, 2);
    fs.rmSync(directory, { recursive: true });
  });
}

// it takes seconds to read: one way is enough, and the way back in `deno task matrix`
if (isAll || here === "bun") {
  test(`${between}: a sparse image of more than 4 GiB`, { skip }, async () => {
    const border = 2 ** 32;
    const size = border + 16 * 1024 * 1024;
    const directory = temporaryDirectory();
    const image = path.join(directory, "guest.ram");
    const fd = fs.openSync(image, "w");
    fs.ftruncateSync(fd, size);
    // data at the start, across 2^32 and at the very end
    for (const [i, at] of [0, border - 4096, size - 8192].entries()) {
      fs.writeSync(fd, mixedPages(2, 4096, 20 + i).fill(i + 1, 10, 20), 0, 8192, at);
    }
    fs.closeSync(fd);
    const out = path.join(directory, "vm");
    const { sent, received } = await moveBetween(
      there,
      [image, "--quiet"],
      here,
      ["--out", out, "--hash", "none", "--json"],
    );
    assertEquals([sent.code, received.code], [0, 0], sent.stderr + received.stderr);
    const copy = path.join(out, "pc.ram");
    assertEquals(fs.statSync(copy).size, size);
    assertEquals(fs.statSync(copy).blocks * 512 < 1024 * 1024, true);
    const [a, b] = [fs.openSync(image, "r"), fs.openSync(copy, "r")];
    for (const at of [0, border - 4096, size - 8192]) {
      const [left, right] = [new Uint8Array(8192), new Uint8Array(8192)];
      fs.readSync(a, left, 0, 8192, at);
      fs.readSync(b, right, 0, 8192, at);
      assertEquals(right, left);
    }
    fs.closeSync(a);
    fs.closeSync(b);
    fs.rmSync(directory, { recursive: true });
  });
}
