/** Two processes, two runtimes: this test's runtime receives what the other one sends. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { mixedPages, temporaryDirectory } from "../migration/_migrate.ts";
import { here, moveBetween, run, there } from "./_command.ts";

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

const METHODS = ["none", "zlib", "zstd", "qpl", "uadk", "qatzip"];
const CHANNELS = [1, 2, 3, 5, 8, 16];
const SYNCS = ["round", "section"];
const ZERO_PAGES = ["multifd", "legacy", "none"];

const SIDES: [Side, Side][] = [
  ["native", "native"],
  ["native", "portable"],
  ["portable", "native"],
  ["portable", "portable"],
];

/** Every method between native and portable sides, with everything else in turn. */
const ROWS: Row[] = METHODS.flatMap((method, i) =>
  SIDES.map(([sender, receiver], k) => ({ sender, receiver, sync: SYNCS[k % 2]!, j: k })).map((
    { sender, receiver, sync, j },
  ) => ({
    method,
    sender,
    receiver,
    channels: CHANNELS[(i + 2 * j + (j >> 1)) % 6]!,
    sync,
    pageSize: (i + j) % 2 === 0 ? 4096 : 65536,
    zeroPages: ZERO_PAGES[(i + j) % 3]!,
  }))
);

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

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

for (const row of ROWS) {
  const name =
    `${row.method}, ${row.sender} to ${row.receiver}, ${row.channels} channels, sync per ${row.sync}, ` +
    `${row.pageSize} bytes a page, zero pages ${row.zeroPages}`;
  test(`multifd send (${there}) to multifd recv (${here}): ${name}`, async () => {
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
    const inspected = await run(here, ["inspect", out, "--json"]);
    assertEquals([inspected.code, JSON.parse(inspected.stdout).blocks.length], [0, 2]);
    fs.rmSync(directory, { recursive: true });
  });
}

test(`multifd send (${there}) to multifd recv (${here}): a sparse image of 6 GiB`, async () => {
  const GiB = 1024 ** 3;
  const directory = temporaryDirectory();
  const image = path.join(directory, "guest.ram");
  const fd = fs.openSync(image, "w");
  fs.ftruncateSync(fd, 6 * GiB);
  // data at the start, across 2^32 and at the very end
  for (const [i, at] of [0, 4 * GiB - 4096, 6 * GiB - 8192].entries()) {
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
  assertEquals(fs.statSync(copy).size, 6 * GiB);
  assertEquals(fs.statSync(copy).blocks * 512 < 1024 * 1024, true);
  const [a, b] = [fs.openSync(image, "r"), fs.openSync(copy, "r")];
  for (const at of [0, 4 * GiB - 4096, 6 * GiB - 8192]) {
    const [left, right] = [new Uint8Array(8192), new Uint8Array(8192)];
    fs.readSync(a, left, 0, 8192, at);
    fs.readSync(b, right, 0, 8192, at);
    assertEquals(right, left);
  }
  fs.closeSync(a);
  fs.closeSync(b);
  fs.rmSync(directory, { recursive: true });
});
