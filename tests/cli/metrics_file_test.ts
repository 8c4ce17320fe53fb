/** `--metrics-file`: what is in the file, and that it disturbs nothing. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { denoPath, root } from "../_tools.ts";
import { mixedPages, temporaryDirectory } from "../migration/_migrate.ts";
import { readExposition } from "../telemetry/_exposition.ts";
import { here, moveBetween, run, start } from "./_command.ts";

/** Runs with a place for files. */
async function withDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = temporaryDirectory();
  try {
    await run(directory);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

/** Moves an image with the files asked for; what both commands printed. */
async function move(directory: string, recvFile: string, sendFile: string) {
  const image = path.join(directory, "guest.ram");
  fs.writeFileSync(image, mixedPages(512, 4096, 1));
  return await moveBetween(
    here,
    [image, "--method", "zlib", "--channels", "3", "--json", "--metrics-file", sendFile],
    here,
    ["--out", path.join(directory, "vm"), "--json", "--metrics-file", recvFile],
  );
}

/** The value of a series of a file, whatever file that is. */
function valueIn(file: string, name: string, labels = ""): number | undefined {
  const migration = `migration="${path.basename(file, ".prom")}"`;
  const series = labels === "" ? migration : `${migration},${labels}`;
  return readExposition(fs.readFileSync(file, "utf8")).get(name)?.samples.get(series);
}

test("multifd send and recv --metrics-file tell what --json tells", () =>
  withDirectory(async (directory) => {
    const files = ["recv", "send"].map((name) => path.join(directory, `${name}.prom`));
    const { sent, received } = await move(directory, files[0]!, files[1]!);
    for (const [i, { code, stdout, stderr }] of [received, sent].entries()) {
      assertEquals(code, 0, stderr);
      const { ram, engine, transport, ...result } = JSON.parse(stdout);
      const value = (name: string, labels?: string) => valueIn(files[i]!, name, labels);
      const role = ["recv", "send"][i]!;
      const info = `role="${role}",method="zlib",engine="${engine}",transport="${transport}"`;
      assertEquals(value("multifd_migration_info", info), 1);
      assertEquals(value("multifd_migration_status", 'status="completed"'), 1);
      assertEquals(value("multifd_migration_status", 'status="active"'), 0);
      assertEquals(value("multifd_transferred_bytes_total"), ram.transferred);
      assertEquals(value("multifd_pages_total", 'kind="normal"'), ram.normal);
      assertEquals(value("multifd_pages_total", 'kind="zero"'), ram.duplicate);
      assertEquals(value("multifd_ram_bytes"), 512 * 4096);
      for (const name of ["total", "setup", "finish"]) {
        const seconds = value(`multifd_migration_${name}_time_seconds`)!;
        const told = result[`${name}-time`];
        // one is in whole milliseconds, and each is rounded by itself
        assert(Math.abs(1000 * seconds - told) < 0.6, `${name}: ${seconds} s, ${told} ms`);
      }
      const [began, ended] = ["start", "end"].map((name) =>
        value(`multifd_migration_${name}_timestamp_seconds`)!
      );
      assert(began! <= ended!);
      assertEquals(result["per-channel"].length, 3);
      for (const { id, bytes, packets, normal } of result["per-channel"]) {
        assertEquals(value("multifd_channel_bytes_total", `channel="${id}"`), bytes);
        assertEquals(value("multifd_channel_packets_total", `channel="${id}"`), packets);
        const pages = value("multifd_channel_pages_total", `channel="${id}",kind="normal"`);
        assertEquals(pages, normal);
      }
      const codecTime = result["per-channel"].map((each: Record<string, number>) =>
        value("multifd_channel_codec_seconds_total", `channel="${each.id}"`)
      );
      assert(codecTime.some((seconds: number) => seconds > 0), `${codecTime}`);
    }
  }));

test("multifd --metrics-file replaces its file, so that nobody reads half of it", () =>
  withDirectory(async (directory) => {
    const files = ["recv", "send"].map((name) => path.join(directory, `${name}.prom`));
    for (const file of files) {
      fs.writeFileSync(file, "an old one");
      fs.linkSync(file, `${file}.before`);
    }
    const { sent, received } = await move(directory, files[0]!, files[1]!);
    assertEquals([sent.code, received.code], [0, 0]);
    for (const file of files) {
      assertEquals(fs.readFileSync(`${file}.before`, "utf8"), "an old one");
      assertEquals(valueIn(file, "multifd_migration_status", 'status="completed"'), 1);
    }
    assertEquals(fs.readdirSync(directory).filter((name) => name.endsWith(".partial")), []);
  }));

test("multifd --metrics-file that cannot be written is a warning, once", () =>
  withDirectory(async (directory) => {
    const file = path.join(directory, "nowhere", "vm.prom");
    const { sent, received } = await move(directory, file, file);
    for (const { code, stderr } of [sent, received]) {
      assertEquals(code, 0, stderr);
      assertEquals(stderr.match(/multifd: cannot write --metrics-file: .*ENOENT/g)?.length, 1);
    }
  }));

test("multifd --metrics-file tells of a migration that failed, and of one that was cancelled", () =>
  withDirectory(async (directory) => {
    const image = path.join(directory, "guest.ram");
    fs.writeFileSync(image, mixedPages(8, 4096, 1));
    const file = path.join(directory, "vm.prom");
    const to = ["--to", "127.0.0.1:1", "--metrics-file", file];
    assertEquals((await run(here, ["send", image, ...to])).code, 3);
    assertEquals(valueIn(file, "multifd_migration_status", 'status="failed"'), 1);
    assert(valueIn(file, "multifd_migration_end_timestamp_seconds")! > 0);
    const out = ["--out", path.join(directory, "vm"), "--metrics-file", file];
    const recv = start(here, ["recv", ...out]);
    await recv.line(/^listening on (.*)$/);
    // not child.kill(): Deno's then reports the signal, whatever the child makes of it
    process.kill(recv.child.pid!, "SIGTERM");
    assertEquals((await recv.outcome).code, 1);
    assertEquals(valueIn(file, "multifd_migration_status", 'status="cancelled"'), 1);
  }));

/** The flags of README's table for an option. */
function flagsOf(use: string): string[] {
  const readme = fs.readFileSync(path.join(root, "README.md"), "utf8");
  const row = readme.split("\n").find((line) => line.startsWith(`| \`${use}\``));
  return /`(--allow[^`]*)`/.exec(row!)![1]!.split(" ");
}

test("multifd --metrics-file needs no more of Deno's permissions than README tells", () =>
  withDirectory((directory) => {
    const image = path.join(directory, "guest.ram");
    fs.writeFileSync(image, mixedPages(8, 4096, 1));
    const file = path.join(directory, "vm.prom");
    const flags = flagsOf("--metrics-file").map((flag) => flag.replaceAll("FILE", file));
    const read = flags.find((flag) => flag.startsWith("--allow-read"))!;
    const main = path.join(root, "src", "cli", "main.ts");
    const args = ["send", image, "--to", "127.0.0.1:1", "--metrics-file", file];
    const { stderr } = spawnSync(denoPath()!, [
      ...["run", "--no-check", "--no-prompt", "--allow-net=127.0.0.1", `${read},${image}`],
      ...[...flags.filter((flag) => flag !== read), main, ...args],
    ], { encoding: "utf8" });
    assertStringIncludes(stderr, "Cannot connect");
    assert(!stderr.includes("metrics-file"), stderr);
    assertEquals(valueIn(file, "multifd_migration_status", 'status="failed"'), 1);
    return Promise.resolve();
  }));

test("multifd --metrics-file takes only names that node_exporter reads", async () => {
  const args = ["send", "x", "--to", "127.0.0.1:1", "--metrics-file", "vm.txt"];
  const { code, stderr } = await run(here, args);
  assertEquals(code, 2);
  assertStringIncludes(stderr, "--metrics-file vm.txt does not end in .prom");
});
