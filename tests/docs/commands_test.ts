/** Every command of the documents that is marked `sh` runs, as it is written. */
import assert from "node:assert/strict";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { writeDemoImage } from "../../src/cli/demo_image.ts";
import { documents, fencesOf } from "./_fences.ts";
import { Shell } from "./_shell.ts";

/** The port of the documents' examples, which another test may have just now. */
const PORT = "4444";

async function freePort(): Promise<string> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return String(port);
}

// a document's commands are as expensive as the tests of half the command: one runtime is enough
if ("Bun" in globalThis) {
  // made once: it is of files from all over the machine
  const made = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-docs-"));
  const image = path.join(made, "guest.ram");
  before(() => writeDemoImage(image, 4 * 1024 * 1024));
  after(() => fs.rmSync(made, { recursive: true }));

  for (const file of documents()) {
    const fences = fencesOf(file).filter(({ info }) => info[0] === "sh" && info.length === 1);
    if (fences.length === 0) continue;
    test(`commands of ${file}`, async () => {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-docs-"));
      const shell = new Shell(folder);
      try {
        fs.copyFileSync(image, path.join(folder, "guest.ram"));
        const port = await freePort();
        for (const { text } of fences) await shell.run(text.replaceAll(PORT, port));
      } finally {
        shell.close();
        fs.rmSync(folder, { recursive: true });
      }
    });
  }

  test("README has commands", () => {
    assert.ok(fencesOf("README.md").some(({ info }) => info[0] === "sh"));
  });
}
