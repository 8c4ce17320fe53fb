/** The package as its importers get it: served over HTTP, or copied into node_modules. */
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import process from "node:process";
import { root } from "../_tools.ts";

/** Why the shim cannot be built here with its zstd engine; undefined where it can. */
export function whyNoShim(): string | undefined {
  const probe = spawnSync("cc", ["-E", "-"], { input: "#include <zstd.h>\n" });
  if (probe.error) return "cc is missing";
  if (probe.status !== 0) return "zstd.h is missing";
  return spawnSync("make", ["--version"]).error && "make is missing";
}

/** What `publish.include` of deno.json selects. */
export function publishedFiles(): string[] {
  const { publish } = JSON.parse(fs.readFileSync(path.join(root, "deno.json"), "utf8"));
  return (publish.include as string[])
    .flatMap((pattern) => fs.globSync(pattern, { cwd: root }))
    .filter((file) => fs.statSync(path.join(root, file)).isFile());
}

/** Puts a copy, with the repository's package.json, where `directory` imports it from. */
export function copyPackage(directory: string): string {
  const copy = path.join(directory, "node_modules", "@multifd", "multifd");
  for (const file of ["package.json", ...publishedFiles()]) {
    fs.mkdirSync(path.dirname(path.join(copy, file)), { recursive: true });
    fs.copyFileSync(path.join(root, file), path.join(copy, file));
  }
  return copy;
}

/** Serves the published files, and nothing else; one may be changed on its way. */
export async function servePackage(
  changed?: string,
): Promise<{ host: string; close(): void }> {
  const files = new Set(publishedFiles());
  const server = http.createServer((request, response) => {
    const file = new URL(request.url!, "http://server").pathname.slice(1);
    if (!files.has(file)) return response.writeHead(404, { connection: "close" }).end();
    const type = file.endsWith(".ts") ? "application/typescript" : "text/plain";
    response.writeHead(200, { "content-type": type, connection: "close" });
    response.write(fs.readFileSync(path.join(root, file)));
    response.end(path.basename(file) === changed ? "\n" : "");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { host: `127.0.0.1:${port}`, close: () => server.close() };
}

/** A program that moves an image within its own process, natively, and prints how. */
export function migration(specifier: string): string {
  return `
import { MemoryImage, receive, send } from ${JSON.stringify(specifier)};

const source = new MemoryImage({ "pc.ram": new SharedArrayBuffer(1024 * 4096) });
source.memory.get("pc.ram").fill(7);
const image = new MemoryImage();
const [method, transport, timeout] = ["zstd", "native", 5000];
let sent;
const received = await receive({
  listen: "127.0.0.1:0",
  into: image,
  channels: 2,
  timeout,
  transport,
  onEvent: (event) => {
    if (event.type !== "listening") return;
    sent = send({ image: source, to: event.address, method, transport, timeout });
    sent.catch((error) => console.log(error));
  },
});
await sent;
console.log(received.transport, received.engine, image.memory.get("pc.ram").every((b) => b === 7));
`;
}

/** How a program ended. */
export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a program as a new user does: nothing of this process's environment but PATH. */
export async function run(
  command: string,
  args: string[],
  options: { cwd: string; env?: Record<string, string> },
): Promise<Ended> {
  const env = { PATH: process.env.PATH!, NO_COLOR: "1", ...options.env };
  const child = spawn(command, args, { cwd: options.cwd, env, timeout: 100_000 });
  const ended: Ended = { code: null, stdout: "", stderr: "" };
  child.stdout.on("data", (chunk) => ended.stdout += chunk);
  child.stderr.on("data", (chunk) => ended.stderr += chunk);
  ended.code = await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  return ended;
}
