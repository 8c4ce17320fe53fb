/** An image that changes while it is sent: a file is an error, memory that lives is sent as found. */
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ImageError, MemoryImage, PeerClosedError, PeerFailedError, send } from "../../mod.ts";
import { count } from "../durability/_outcomes.ts";
import {
  migrate,
  mixedPages,
  sharedPages,
  startReceiver,
  temporaryDirectory,
  TRANSPORTS,
} from "./_migrate.ts";

const METHODS = ["zlib", "zstd", "qpl", "qatzip"];

for (const transport of TRANSPORTS) {
  test(`send() on ${transport} sockets fails when its file changes meanwhile, and nothing is kept`, async () => {
    const directory = temporaryDirectory();
    const file = path.join(directory, "guest.ram");
    fs.writeFileSync(file, mixedPages(1024, 4096, 1));
    // the kernel's clock goes in steps
    fs.utimesSync(file, 1, 1);
    const receiver = await startReceiver({ transport, into: path.join(directory, "vm") });
    const received = assertRejects(() => receiver.received, Error);
    const error = await assertRejects(() =>
      send({
        image: file,
        to: receiver.address,
        transport,
        onEvent: ({ type }) => {
          if (type !== "setup") return;
          const fd = fs.openSync(file, "r+");
          fs.writeSync(fd, new Uint8Array(4096).fill(7), 0, 4096, 4096);
          fs.closeSync(fd);
        },
      }), ImageError);
    assert(error.message.includes("changed while it was read"), error.message);
    const said = await received;
    assert(said instanceof PeerClosedError || said instanceof PeerFailedError, String(said));
    assertEquals(fs.readdirSync(directory), ["guest.ram"]);
    fs.rmSync(directory, { recursive: true });
    count("an image file that changes while it is sent", "both sides say so, nothing left");
  });

  test(`what another thread writes while it is encoded decodes, on ${transport} sockets`, async () => {
    const pages = sharedPages(512, 4096, 2);
    const worker = new Worker(new URL("./_scribbling_worker.ts", import.meta.url));
    const state = new Int32Array(new SharedArrayBuffer(8));
    worker.postMessage({ pages: pages.buffer, state: state.buffer });
    while (Atomics.load(state, 0) === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    for (const method of METHODS) {
      const before = Atomics.load(state, 0);
      const engine = transport === "native" ? "auto" : "builtin";
      const image = new MemoryImage({ "pc.ram": pages });
      const moved = await migrate(image, { transport, method, engine }, { transport, engine });
      assertEquals(moved.image.memory.get("pc.ram")!.length, pages.length);
      assert(Atomics.load(state, 0) > before, "Nobody wrote meanwhile");
      count("pages that change while they are encoded", "whole, as found");
    }
    Atomics.store(state, 1, 1);
    await new Promise<void>((resolve) => worker.once("exit", () => resolve()));
  });
}
