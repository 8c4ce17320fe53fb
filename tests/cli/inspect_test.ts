/** What `multifd inspect` tells of a VM, for people and for programs. */
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { guest, startReceiver, temporaryDirectory } from "../migration/_migrate.ts";
import { send } from "../../mod.ts";
import { root } from "../_tools.ts";
import { here, run } from "./_command.ts";

const RUNNING = path.join(root, "tests", "testdata", "recordings", "qpl-running");

test("inspect shows a recording's rounds, repeated pages and devices, largest first", async () => {
  const { code, stdout } = await run(here, ["inspect", RUNNING]);
  assertEquals(code, 0);
  // as the recording's expected.json has it: 14 syncs; the first pass takes each page once
  assertMatch(stdout, /^ +1 +0 +0\n +2 +515 +1663\n +3 +0 +0$/m);
  assertMatch(stdout, /^ +14 +320 +0$/m);
  assertMatch(stdout, /^1920 pages were sent more than once$/m);
  assertMatch(stdout, /^device +instances +bytes\n0000:00:1f\.0\/ICH9LPC +1 +18917$/m);
  assertMatch(stdout, /^dma +2 +194$/m);
});

test("inspect --json has a recording's rounds and every device in the stream's order", async () => {
  const { stdout } = await run(here, ["inspect", RUNNING, "--json"]);
  const report = JSON.parse(stdout);
  assertEquals(report.rounds.length, report.ram["dirty-sync-count"]);
  const sum = (name: string): number =>
    report.rounds.reduce((total: number, round: Record<string, number>) => total + round[name]!, 0);
  assertEquals([sum("normal"), sum("duplicate")], [report.ram.normal, report.ram.duplicate]);
  assertEquals(report["repeated-pages"], 1920);
  assertEquals([report.devices[0].name, report.devices[1].name], ["timer", "cpu_common"]);
});

test("inspect tells what a received directory knows of its source and its rounds", async () => {
  const directory = temporaryDirectory();
  const out = path.join(directory, "vm");
  const source = { "qemu-version": "10.0.13", capabilities: ["multifd", "return-path"] };
  const { address, received } = await startReceiver({ into: out, source });
  await send({ image: guest(), to: address, method: "none" });
  const { ram } = await received;
  const text = await run(here, ["inspect", out]);
  assertEquals(text.code, 0, text.stderr);
  assertMatch(text.stdout, /^source: QEMU 10\.0\.13, capabilities multifd, return-path$/m);
  assert(text.stdout.includes(`${ram.normal} `), text.stdout);
  assertMatch(text.stdout, /^0 pages were sent more than once$/m);
  assertMatch(text.stdout, /^verified: every block has the hash of the manifest$/m);
  const json = JSON.parse((await run(here, ["inspect", out, "--json"])).stdout);
  assertEquals(json.source, source);
  assertEquals(json.verified, true);
  assertEquals(json.counters.rounds[1], { normal: ram.normal, duplicate: ram.duplicate });
  fs.rmSync(directory, { recursive: true });
});

test("inspect says of a directory without hashes that it could not verify it", async () => {
  const directory = temporaryDirectory();
  const out = path.join(directory, "vm");
  const { address, received } = await startReceiver({ into: out, hash: "none" });
  await send({ image: guest(), to: address, method: "none" });
  await received;
  const { code, stdout } = await run(here, ["inspect", out]);
  assertEquals(code, 0);
  assertMatch(stdout, /^not verified: the manifest has no hash of some blocks$/m);
  fs.rmSync(directory, { recursive: true });
});
