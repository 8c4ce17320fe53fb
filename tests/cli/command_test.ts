import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { mixedPages, RawPeer, temporaryDirectory } from "../migration/_migrate.ts";
import { makeScript, pagesPacket, play } from "../migration/_script.ts";
import { here, moveBetween, onceOf, run, start } from "./_command.ts";

const testdata = path.join(
  path.dirname(fileURLToPath(import.meta.url)),
  "..",
  "testdata",
  "recordings",
);

/** Runs with an image and a place for more files. */
async function withImage(run: (image: string, directory: string) => Promise<void>): Promise<void> {
  const directory = temporaryDirectory();
  const image = path.join(directory, "guest.ram");
  fs.writeFileSync(image, mixedPages(512, 4096, 1));
  try {
    await run(image, directory);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

const USAGE_ERRORS: [string[], string][] = [
  [["sned"], 'verb sned is unknown, did you mean "send"?'],
  [["send", "x", "--to", "127.0.0.1:1", "--metod", "zstd"], 'did you mean "method"?'],
  [["send", "x", "--to", "127.0.0.1:1", "--method", "zst"], 'did you mean "zstd"?'],
  [["send", "x"], "--to is missing"],
  [["send", "--to", "127.0.0.1:1"], "IMAGE is missing"],
  [["send", "x", "--to"], "--to needs a value"],
  [["send", "x", "--to", "127.0.0.1:1", "--channels", "two"], "--channels two is no number"],
  [["recv", "--out", "vm", "--max-ram", "much"], "--max-ram much is no size"],
  [["recv", "--out", "vm", "stray"], "Argument stray is one too many"],
  [["recv"], "--out is missing"],
  [["inspect"], "PATH is missing"],
  [["demo", "--method", "none,lz4"], "--method lz4 is unknown"],
  [["demo", "stray"], "Argument stray is one too many"],
];

for (const [args, message] of onceOf(USAGE_ERRORS)) {
  test(`multifd ${args.join(" ")} ends with usage: ${message}`, async () => {
    const { code, stdout, stderr } = await run(here, args);
    assertEquals([code, stdout], [2, ""]);
    assertStringIncludes(stderr, message);
  });
}

test("multifd --help and VERB --help teach by example", async () => {
  const all = await run(here, ["--help"]);
  assertEquals(all.code, 0);
  const verbs = ["send", "recv", "inspect", "demo"];
  for (const verb of verbs) assertStringIncludes(all.stdout, verb);
  for (const verb of onceOf(verbs)) {
    const { code, stdout } = await run(here, [verb, "--help"]);
    assertEquals(code, 0);
    assertMatch(stdout, new RegExp(`Examples:\n  # .+\n  multifd ${verb}\\b`));
  }
  assertEquals((await run(here, [])).code, 2);
});

test("multifd send and recv report in query-migrate's names", () =>
  withImage(async (image, directory) => {
    const { sent, received } = await moveBetween(
      here,
      [image, "--json"],
      here,
      ["--out", path.join(directory, "vm"), "--json"],
    );
    for (const { code, stdout, stderr } of [sent, received]) {
      assertEquals(code, 0, stderr);
      const result = JSON.parse(stdout);
      assertEquals(result.status, "completed");
      for (const name of ["total-time", "setup-time", "finish-time", "channels"]) {
        assert(Number.isInteger(result[name]), name);
      }
      assertEquals(result.ram.total, 512 * 4096);
      assertEquals(result.ram.normal + result.ram.duplicate, 512);
      assertEquals(result.ram["normal-bytes"], result.ram.normal * 4096);
      assertEquals(result.ram["page-size"], 4096);
      assert(result.ram.transferred > result.ram["multifd-bytes"]);
      assert(result.ram.mbps > 0 && result.ram["pages-per-second"] > 0);
    }
  }));

test("multifd recv writes a directory that says what it holds", () =>
  withImage(async (image, directory) => {
    const out = path.join(directory, "vm");
    const args = [image, "--machine", "pc-q35-10.0"];
    const { received } = await moveBetween(here, args, here, ["--out", out]);
    assertMatch(received.stdout, /received 2.0 MiB of guest RAM in \d+ ms/);
    const manifest = JSON.parse(fs.readFileSync(path.join(out, "migration.json"), "utf8"));
    assertEquals(manifest.machine, "pc-q35-10.0");
    assertEquals(manifest.blocks[0]["used-length"], 512 * 4096);
    assertEquals(fs.readFileSync(path.join(out, "pc.ram")), fs.readFileSync(image));
  }));

test("multifd over a unix socket", () =>
  withImage(async (image, directory) => {
    const address = `unix:${path.join(directory, "vm.sock")}`;
    const recv = start(here, ["recv", "--listen", address, "--out", path.join(directory, "vm")]);
    assertEquals(await recv.line(/^listening on (.*)$/), address);
    const sent = await run(here, ["send", image, "--to", address]);
    assertEquals([sent.code, (await recv.outcome).code], [0, 0], sent.stderr);
  }));

test("multifd recv refuses a directory that is taken, before it listens", () =>
  withImage(async (_, directory) => {
    const { code, stderr } = await run(here, ["recv", "--out", directory, "--json"]);
    assertEquals(code, 1);
    assertStringIncludes(stderr, "exists and is not empty");
    assert(!stderr.includes("listening"));
  }));

test("multifd recv ends with 3 when the peer breaks the protocol, and leaves nothing", () =>
  withImage(async (_, directory) => {
    const out = path.join(directory, "vm");
    const recv = start(here, ["recv", "--out", out, "--channels", "2", "--json"]);
    const address = await recv.line(/^listening on (.*)$/);
    const script = makeScript();
    script.channels[1]!.data = pagesPacket(3, [4 * 4096]);
    await play(script, Number(address!.split(":").at(-1)));
    const { code, stdout, stderr } = await recv.outcome;
    assertEquals(code, 3);
    assertMatch(stderr, /past the end .*channel 1, packet 1, block "pc.ram", offset 0x4000/);
    const result = JSON.parse(stdout);
    assertEquals([result.status, result["error-class"], result.channel], [
      "failed",
      "ProtocolError",
      1,
    ]);
    assertEquals(fs.readdirSync(directory), ["guest.ram"]);
  }));

test("multifd recv ends with 1 when its first connection never comes in time", async () => {
  const out = path.join(temporaryDirectory(), "vm");
  const { code, stderr } = await run(here, ["recv", "--out", out, "--timeout", "0.5"]);
  assertEquals(code, 1);
  assertStringIncludes(stderr, "Nothing moved for 0.5 s, waiting for the main channel");
  fs.rmdirSync(path.dirname(out));
});

test("multifd recv ends with 1 and leaves nothing on SIGINT and SIGTERM", async () => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    const directory = temporaryDirectory();
    const recv = start(here, ["recv", "--out", path.join(directory, "vm")]);
    const address = await recv.line(/^listening on (.*)$/);
    await RawPeer.connect(Number(address!.split(":").at(-1)));
    // not child.kill(): Deno's then reports the signal, whatever the child makes of it
    process.kill(recv.child.pid!, signal);
    const { code, stderr } = await recv.outcome;
    assertEquals(code, 1);
    assertStringIncludes(stderr, `cancelled: ${signal}`);
    assertEquals(fs.readdirSync(directory), []);
    fs.rmdirSync(directory);
  }
});

test("multifd send ends with 3 where nobody listens", () =>
  withImage(async (image) => {
    const { code, stderr } = await run(here, ["send", image, "--to", "127.0.0.1:1"]);
    assertEquals(code, 3);
    assertStringIncludes(stderr, "Cannot connect main channel to 127.0.0.1:1");
  }));

test("multifd inspect tells what a recording holds, and ends with 4 where it is damaged", () =>
  withImage(async (_, directory) => {
    const recording = path.join(directory, "recording");
    fs.cpSync(path.join(testdata, "qpl"), recording, { recursive: true });
    const good = await run(here, ["inspect", recording]);
    assertEquals(good.code, 0);
    assertMatch(good.stdout, /recording of pc-q35-10.0: method qpl, 2 channels, 3 rounds/);
    assertMatch(good.stdout, /pc.ram +8.0 MiB +576e38afecb0d9838a6a096027461db0/);
    const file = path.join(recording, "ch0.bin");
    const bytes = fs.readFileSync(file);
    bytes.fill(0xff, 64 + 2 * 1344 + 40, 64 + 2 * 1344 + 60);
    fs.writeFileSync(file, bytes);
    const bad = await run(here, ["inspect", recording]);
    assertEquals(bad.code, 4);
    assertMatch(bad.stdout, /what can be read/i);
    assertMatch(bad.stderr, /Cannot decode qpl, page 0 .*channel 0, packet 1/);
  }));

test("multifd demo moves an image with every method and compares it", async () => {
  // each method takes two processes, which one runtime starts for all of them
  const methods = here === "bun" ? ["none", "zlib", "zstd", "qpl", "uadk", "qatzip"] : ["zstd"];
  const chosen = here === "bun" ? [] : ["--method", "zstd"];
  const { code, stdout, stderr } = await run(here, ["demo", "--size", "4M", "--json", ...chosen]);
  assertEquals(code, 0, stderr);
  const { runs } = JSON.parse(stdout);
  assertEquals(runs.map((run: { method: string }) => run.method), methods);
  for (const run of runs) assert(run.identical && run.ratio > 1 && run["total-time"] > 0);
});

test("multifd demo ends with 1 and leaves nothing on SIGINT", async () => {
  const directory = temporaryDirectory();
  const demo = start(
    here,
    ["demo", "--size", "64M", "--method", "zlib", "--json"],
    ["env", `TMPDIR=${directory}`],
  );
  await demo.line(/^zlib…$/);
  process.kill(demo.child.pid!, "SIGINT");
  const { code, stdout } = await demo.outcome;
  assertEquals(code, 1);
  assertEquals(JSON.parse(stdout).status, "cancelled");
  assertEquals(fs.readdirSync(directory), []);
  fs.rmdirSync(directory);
});
