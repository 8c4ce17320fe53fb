/** The library in Node 22, from its TypeScript: the core, and migrations on Node's own sockets. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { assertEquals } from "@std/assert";
import { root } from "../_tools.ts";
import { run } from "../ffi/_package.ts";
import { sharedPages, startReceiver, temporaryDirectory } from "../migration/_migrate.ts";

/** Node's executable: the machine's own where it is new enough, else of the npm package. */
function findNode(): string | undefined {
  const ask = ["-p", "process.versions.node.split('.')[0] >= 22 ? process.execPath : ''"];
  for (const command of [["node"], ["npx", "--yes", "--fetch-retries=0", "node@22"]]) {
    const [program, ...before] = command;
    const { stdout } = spawnSync(program!, [...before, ...ask], {
      encoding: "utf8",
      timeout: 60_000,
    });
    if (stdout?.trim()) return stdout.trim();
  }
}

const node = findNode();
const options = {
  skip: node === undefined && "Node 22 is neither here nor to be had from npm",
  timeout: 60_000,
};
const [library, core] = ["mod.ts", "src/core.ts"]
  .map((file) => JSON.stringify(pathToFileURL(path.join(root, file)).href));

/** Runs a program in Node; what it prints. */
async function runInNode(program: string): Promise<string> {
  const directory = temporaryDirectory();
  try {
    const file = path.join(directory, "program.ts");
    fs.writeFileSync(file, program);
    const args = ["--experimental-strip-types", "--no-warnings", file];
    const { code, stdout, stderr } = await run(node!, args, { cwd: directory });
    assertEquals(code, 0, stderr);
    return stdout;
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

/** QEMU's six; this process may know more, that another test registered. */
const METHODS = ["none", "zlib", "zstd", "qpl", "uadk", "qatzip"];

test("Node 22 packs and parses with ./core", options, async () => {
  const printed = await runInNode(`
    import { methodNames, encodeGreeting, parseGreeting } from ${core};
    const greeting = { uuid: new Uint8Array(16).fill(5), id: 3 };
    console.log(JSON.stringify([methodNames(), parseGreeting(encodeGreeting(greeting)).id]));
  `);
  assertEquals(JSON.parse(printed), [METHODS, 3]);
});

// this runtime has no part in it
if ("Deno" in globalThis) {
  test("Node 22 receives what Node 22 sends, in every method", options, async () => {
    const printed = await runInNode(`
      import { MemoryImage, methodNames, receive, send } from ${library};
      const source = new MemoryImage({ "pc.ram": new SharedArrayBuffer(512 * 4096) });
      source.memory.get("pc.ram").forEach((_, at, ram) => ram[at] = at / 4096 % 3 * (at % 251));
      for (const method of methodNames()) {
        const image = new MemoryImage();
        const listening = Promise.withResolvers();
        const receiving = receive({
          listen: "127.0.0.1:0",
          into: image,
          timeout: 5000,
          onEvent: (event) => event.type === "listening" && listening.resolve(event.address),
        });
        const to = await listening.promise;
        const sent = await send({ image: source, to, method, timeout: 5000, uadkCompress: true });
        await receiving;
        const [was, is] = [source, image].map(({ memory }) => Buffer.from(memory.get("pc.ram")));
        console.log(method, sent.transport, was.equals(is));
      }
    `);
    const expected = METHODS.map((method) => `${method} runtime true\n`).join("");
    assertEquals(printed, expected);
  });
}

test("this runtime receives what Node 22 sends", options, async () => {
  const directory = temporaryDirectory();
  try {
    const pages = sharedPages(512, 4096, 1);
    const file = path.join(directory, "guest.ram");
    fs.writeFileSync(file, pages);
    const { address, received, image } = await startReceiver({ timeout: 20_000 });
    await runInNode(`
      import { send } from ${library};
      await send({ image: ${JSON.stringify(file)}, to: "${address}", timeout: 5000 });
    `);
    await received;
    assertEquals(image.memory.get("pc.ram"), pages);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
});
