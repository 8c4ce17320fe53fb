import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { convert, ImageError, inspect, inspectPage, OptionError, packetsOf } from "../../mod.ts";
import { temporaryDirectory } from "../migration/_migrate.ts";
import { Random } from "../_random.ts";
import { change, HEADER, recording, withCopy } from "./_recordings.ts";

const SEED = 20261121;

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** How often each page of pc.ram comes in a recording. */
async function timesOf(directory: string): Promise<Map<number, number>> {
  const times = new Map<number, number>();
  for await (const item of packetsOf(directory, { block: "pc.ram" })) {
    if (item.type !== "packet") continue;
    for (const page of item.pages) times.set(page, (times.get(page) ?? 0) + 1);
  }
  return times;
}

test(`inspectPage()'s last word is what a receiver has, directory and mapped-ram (seed ${SEED})`, async () => {
  const directory = recording("qpl-running");
  const parent = temporaryDirectory();
  const vm = path.join(parent, "vm");
  await inspect(directory, { extract: vm });
  const mapped = path.join(parent, "vm.mapped");
  await convert({ source: vm, out: mapped });
  const ram = fs.readFileSync(path.join(vm, "pc.ram"));
  const times = await timesOf(directory);
  const often = [...times].filter(([, count]) => count > 2).map(([page]) => page);
  const once = [...times].filter(([, count]) => count === 1).map(([page]) => page);
  const random = new Random(SEED);
  for (const pages of [often, often, once]) {
    const offset = random.pick(pages);
    const page = { block: "pc.ram", offset };
    const report = await inspectPage(directory, page);
    assert(report.kind === "recording");
    assertEquals(report.copies.length, times.get(offset));
    assertEquals(report.last.length, 1);
    const rounds = report.copies.map(({ round }) => round);
    assertEquals(rounds, [...rounds].sort((a, b) => a - b));
    const [last] = report.last;
    assertEquals(last, report.copies.at(-1));
    const right = ram.subarray(offset, offset + 4096);
    assertEquals(last!.content!.sha256, sha256(right));
    assertEquals(last!.content!.head, new Uint8Array(right.subarray(0, 64)));
    for (const image of [vm, mapped]) {
      const saved = await inspectPage(image, page);
      assert(saved.kind === "image");
      assertEquals(saved.content, last!.content);
    }
  }
  fs.rmSync(parent, { recursive: true });
});

test("inspectPage() rounds down to the page, and finds the main channel's zero pages", async () => {
  const directory = recording("zstd-legacy-zero-pages");
  let zero: number | undefined;
  for await (const item of packetsOf(directory, { channel: "main", block: "pc.ram" })) {
    if (item.type === "record") zero ??= item.page;
  }
  const report = await inspectPage(directory, { block: "pc.ram", offset: zero! + 4095 });
  assert(report.kind === "recording");
  assertEquals(report.offset, zero);
  const { channel, kind, content } = report.last[0]!;
  assertEquals([channel, kind, content!.isZero], ["main", "zero", true]);
  assertEquals(content!.sha256, sha256(new Uint8Array(4096)));
});

test("inspectPage() says where channels leave open which copy stands", () =>
  withCopy("none", async (directory) => {
    // the last packet of channel 0 with pages goes into channel 1's same round, too
    let packet: Uint8Array | undefined;
    let page: number | undefined;
    for await (const item of packetsOf(directory, { channel: 0, block: "pc.ram" })) {
      if (item.type !== "packet" || item.round !== 2) continue;
      const end = item.offset + HEADER + item.payloadBytes;
      packet = fs.readFileSync(path.join(directory, "ch0.bin")).subarray(item.offset, end);
      page = item.pages[0];
    }
    change(path.join(directory, "ch1.bin"), (bytes) => {
      const at = 64 + HEADER;
      return Uint8Array.from([...bytes.subarray(0, at), ...packet!, ...bytes.subarray(at)]);
    });
    const report = await inspectPage(directory, { block: "pc.ram", offset: page! });
    assert(report.kind === "recording");
    assertEquals(report.last.map(({ channel, round }) => [channel, round]), [[0, 2], [1, 2]]);
  }));

test("inspectPage() refuses what is no page, and what is no VM", async () => {
  const page = { block: "pc.rma", offset: 0 };
  for (const source of [recording("zstd"), recording("qpl")]) {
    await assertRejects(() => inspectPage(source, page), OptionError, "there are: pc.ram,");
  }
  await assertRejects(() => inspectPage("tests", page), ImageError);
});
