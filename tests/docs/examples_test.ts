/** The examples do what they say, as they are started from a shell. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { writeDemoImage } from "../../src/cli/demo_image.ts";
import { root } from "../_tools.ts";

const SIZE = 4 * 1024 * 1024;

function commandOf(name: string, args: readonly string[]): [string, string[]] {
  const script = path.join(root, "examples", name);
  const flags = "Deno" in globalThis ? ["run", "-A", "--no-check"] : [];
  return [process.execPath, [...flags, script, ...args]];
}

function run(name: string, ...args: string[]): string {
  const options = { cwd: root, encoding: "utf8", timeout: 60_000 } as const;
  const { status, stdout, stderr } = spawnSync(...commandOf(name, args), options);
  assert.equal(status, 0, stderr);
  return stdout;
}

test("receive.ts takes what send.ts sends", async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-examples-"));
  const image = path.join(folder, "guest.ram");
  writeDemoImage(image, SIZE);
  const into = path.join(folder, "vm");
  const receiver = spawn(...commandOf("receive.ts", ["127.0.0.1:0", into]));
  try {
    let messages = "";
    let output = "";
    receiver.stdout.on("data", (chunk) => output += chunk);
    const ended = once(receiver, "close");
    const address = await new Promise<string>((resolve, reject) => {
      receiver.stderr.on("data", (chunk) => {
        messages += chunk;
        const match = /^listening on (.*)$/m.exec(messages);
        if (match !== null) resolve(match[1]!);
      });
      receiver.on("close", () => reject(new Error(messages)));
    });
    assert.match(run("send.ts", image, address), new RegExp(`^${SIZE} bytes of RAM, `));
    assert.equal((await ended)[0], 0, messages);
    assert.match(output, new RegExp(`^pc.ram ${SIZE} [0-9a-f]{64}$`, "m"));
    const received = fs.readFileSync(path.join(into, fs.readdirSync(into).find(isRam)!));
    assert.ok(received.equals(fs.readFileSync(image)));
  } finally {
    receiver.kill("SIGKILL");
    fs.rmSync(folder, { recursive: true });
  }
});

const isRam = (name: string): boolean => name.startsWith("pc.ram");

test("send.ts says that nobody listens", () => {
  const options = { cwd: root, encoding: "utf8", timeout: 60_000 } as const;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-examples-"));
  try {
    const image = path.join(folder, "zeros");
    fs.writeFileSync(image, new Uint8Array(4096));
    const { status, stderr } = spawnSync(...commandOf("send.ts", [image, "127.0.0.1:1"]), options);
    assert.equal(status, 1);
    assert.match(stderr, /Nobody takes it: ECONNREFUSED/);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

test("verify_recording.ts gives the hashes of a recording", () => {
  const recording = path.join(root, "tests/testdata/recordings/zstd");
  const expected = JSON.parse(fs.readFileSync(path.join(recording, "expected.json"), "utf8"));
  const output = run("verify_recording.ts", recording);
  for (const [name, { sha256 }] of Object.entries<{ sha256: string }>(expected.blocks)) {
    assert.ok(output.includes(`${name} ${sha256}\n`), `${name} ${sha256} is not in ${output}`);
  }
});

test("own_engine.ts packs pages and unpacks them", () => {
  const match = /^8192 bytes of pages, (\d+) bytes of payload, the same$/m
    .exec(run("own_engine.ts"));
  assert.ok(match !== null && Number(match[1]) < 1000);
});

test("choose_engine.ts tries every engine", () => {
  const output = run("choose_engine.ts", "zlib");
  assert.match(output, /^builtin +\d+ bytes for 4194304 \(builtin\)$/m);
  assert.match(output, /^zstd +Engine zstd does not compress method zlib$/m);
});
