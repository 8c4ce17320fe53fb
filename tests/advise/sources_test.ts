import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { openSampled, type SourceKind } from "../../src/advise/sources.ts";
import { takeSample } from "../../src/advise/sample.ts";
import { ImageError } from "../../src/errors.ts";
import { mixedPages, startReceiver, temporaryDirectory } from "../migration/_migrate.ts";
import { send } from "../../mod.ts";
import { Random } from "../_random.ts";

const PAGE = 4096;

async function inDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = temporaryDirectory();
  try {
    await run(directory);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

/** What is in a source: its kind, and the counts of a sample of all of it. */
async function look(source: string): Promise<[SourceKind, number, number]> {
  const { kind, pages, close } = await openSampled(source);
  try {
    const sample = takeSample(pages, PAGE, 1e9, 1);
    return [kind, sample.pages, sample.zeroPages];
  } finally {
    close();
  }
}

test("openSampled() reads an image, and what was received or recorded of it, alike", async () => {
  await inDirectory(async (directory) => {
    const file = (name: string): string => path.join(directory, name);
    const bytes = mixedPages(300, PAGE, 4);
    fs.writeFileSync(file("guest.ram"), bytes);
    const ways = [
      { into: file("vm") },
      { into: file("vm.mapped"), format: "mapped-ram" },
      { record: file("recording") },
    ] as const;
    for (const options of ways) {
      const { address, received } = await startReceiver(options);
      await Promise.all([
        send({ image: file("guest.ram"), to: address, transport: "runtime" }),
        received,
      ]);
    }
    const [kind, pages, zeroPages] = await look(file("guest.ram"));
    assertEquals([kind, pages], ["image", 300]);
    assert(zeroPages > 0);
    assertEquals(await look(file("vm")), ["saved VM", 300, zeroPages]);
    assertEquals(await look(file("vm.mapped")), ["saved VM", 300, zeroPages]);
    assertEquals(await look(file("recording")), ["recording", 300, zeroPages]);
  });
});

test("openSampled() takes a directory's files as pages, each from a page's start", async () => {
  await inDirectory(async (directory) => {
    const random = new Random(2);
    const [first, second] = [random.bytes(PAGE + 1), random.bytes(10)];
    fs.mkdirSync(path.join(directory, "sub"));
    fs.writeFileSync(path.join(directory, "b"), first);
    fs.writeFileSync(path.join(directory, "empty"), "");
    fs.writeFileSync(path.join(directory, "sub", "a"), second);
    const { kind, pages, close } = await openSampled(directory);
    assertEquals(kind, "files");
    assertEquals(pages.blocks, [{ name: "files", usedLength: 3 * PAGE }]);
    const all = new Uint8Array(3 * PAGE);
    pages.read(0, 0, all);
    const expected = new Uint8Array(3 * PAGE);
    expected.set(first, 0);
    expected.set(second, 2 * PAGE);
    assertEquals([...all], [...expected]);
    const last = new Uint8Array(PAGE);
    pages.read(0, 2 * PAGE, last);
    assertEquals([...last], [...expected.subarray(2 * PAGE)]);
    close();
  });
});

test("openSampled() refuses what is not there, and a directory without a byte", async () => {
  await inDirectory(async (directory) => {
    await assertRejects(() => openSampled(path.join(directory, "none")), ImageError);
    await assertRejects(() => openSampled(directory), ImageError, "not one byte");
  });
});
