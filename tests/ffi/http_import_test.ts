/** Imported over HTTP, as from a registry: native workers, with exactly the documented flags. */
import { spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { denoPath, root } from "../_tools.ts";
import { temporaryDirectory } from "../migration/_migrate.ts";

const SCRIPT = (base: string): string => `
import { MemoryImage, receive, send } from "${base}/mod.ts";

const source = new MemoryImage({ "pc.ram": new SharedArrayBuffer(1024 * 4096) });
source.memory.get("pc.ram").fill(7);
const image = new MemoryImage();
let sent;
const received = await receive({
  listen: "127.0.0.1:0",
  into: image,
  channels: 2,
  timeout: 5000,
  transport: "native",
  onEvent: (event) => {
    if (event.type !== "listening") return;
    sent = send({ image: source, to: event.address, method: "qpl", transport: "native", timeout: 5000 });
    sent.catch((error) => console.log(error));
  },
});
await sent;
console.log(received.transport, received.engine, image.memory.get("pc.ram").every((b) => b === 7));
`;

// under Bun there is no import over HTTP
if ("Deno" in globalThis) {
  test("mod.ts imported over HTTP moves an image with native workers", async () => {
    const server = http.createServer((request, response) => {
      const file = path.join(root, path.normalize(new URL(request.url!, "http://x").pathname));
      if (!file.startsWith(root) || !fs.existsSync(file)) return response.writeHead(404).end();
      response.writeHead(200, { "content-type": "application/typescript", connection: "close" });
      response.end(fs.readFileSync(file));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const directory = temporaryDirectory();
    const script = path.join(directory, "script.ts");
    fs.writeFileSync(script, SCRIPT(`http://127.0.0.1:${port}`));
    const shim = path.join(root, "native-shim", "build");
    const child = spawn(denoPath()!, [
      ...["run", "--no-prompt", "--no-check", "--quiet", "--no-config"],
      `--allow-import=127.0.0.1:${port}`,
      "--allow-net=127.0.0.1",
      "--allow-env=MULTIFD_SHIM_DIR",
      `--allow-ffi=${shim}`,
      script,
    ], {
      env: { ...process.env, MULTIFD_SHIM_DIR: shim, DENO_DIR: path.join(directory, "cache") },
    });
    let output = "";
    child.stdout.on("data", (chunk) => output += chunk);
    child.stderr.on("data", (chunk) => output += chunk);
    const code = await new Promise((resolve) => child.on("close", resolve));
    server.close();
    fs.rmSync(directory, { recursive: true });
    assertEquals([code, output], [0, "native libdeflate true\n"]);
  });
}
