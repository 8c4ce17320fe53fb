/** What `multifd inspect` tells of a VM, for people and for programs. */
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { guest, startReceiver, temporaryDirectory } from "../migration/_migrate.ts";
import { inspect as inspectPath, send } from "../../mod.ts";
import { root } from "../_tools.ts";
import { here, type Outcome, run } from "./_command.ts";

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

const QPL = path.join(root, "tests", "testdata", "recordings", "qpl");

/** Runs inspect on a copy of the recording qpl that is damaged in both channels. */
async function onDamaged(...options: string[]): Promise<Outcome> {
  const directory = temporaryDirectory();
  fs.cpSync(QPL, directory, { recursive: true });
  const ch0 = path.join(directory, "ch0.bin");
  fs.truncateSync(ch0, fs.statSync(ch0).size - 1000);
  const ch1 = path.join(directory, "ch1.bin");
  const bytes = fs.readFileSync(ch1);
  bytes[64 + 1344] = 0;
  fs.writeFileSync(ch1, bytes);
  const outcome = await run(here, ["inspect", directory, ...options]);
  fs.rmSync(directory, { recursive: true });
  return outcome;
}

test("inspect --packets lists packets, past damage, and ends with 3", async () => {
  const whole = await run(here, ["inspect", QPL, "--packets"]);
  assertEquals([whole.code, whole.stderr], [0, ""]);
  const rows = whole.stdout.trimEnd().split("\n");
  assertMatch(rows[0]!, /^channel +packet +packet_num +round +offset +flags +method +normal +zero/);
  assertMatch(rows[1]!, /^ +0 +0 +1 +1 +0x40 +SYNC +- +0 +0 +0 +-$/);
  assertMatch(rows[2]!, /^ +0 +1 +2 +2 +0x580 +QPL +qpl +8 +120 +27128 +pc\.ram$/);
  const { code, stdout, stderr } = await onDamaged("--packets");
  assertEquals(code, 3);
  assertMatch(stderr, /^multifd inspect: 2 things are wrong, at first: Channel ends inside a /);
  const damaged = stdout.trimEnd().split("\n");
  const isWrong = (row: string): boolean => row.startsWith("WRONG at 0x");
  assertEquals(damaged.filter(isWrong).length, 2);
  // the last of channel 0 and the second of channel 1
  const missing = rows.filter((row) => !damaged.includes(row));
  assertEquals(missing.map((row) => row.trim().split(/ +/).slice(0, 2).join(" ")), ["0 11", "1 1"]);
  assertEquals(damaged.filter((row) => !rows.includes(row) && !isWrong(row)), []);
});

test("inspect --packets --json has an object in each line, and the last one sums up", async () => {
  const { code, stdout } = await onDamaged("--packets", "--json", "--channel", "1");
  assertEquals(code, 3);
  const lines = stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
  assertEquals(lines.slice(0, 3).map(({ type }) => type), ["packet", "damage", "packet"]);
  assertEquals([lines[1].channel, lines[1].packet, lines[1]["file-offset"]], [1, 1, 64 + 1344]);
  assertEquals([lines[1]["error-class"], lines[1]["read-on"]], ["ProtocolError", true]);
  assertEquals(lines[2], {
    type: "packet",
    channel: 1,
    packet: 2,
    "packet-num": 5,
    round: 2,
    "file-offset": lines[2]["file-offset"],
    flags: ["QPL"],
    sync: false,
    method: "qpl",
    block: "pc.ram",
    normal: lines[2].normal,
    duplicate: 128 - lines[2].normal,
    "payload-bytes": lines[2]["payload-bytes"],
    decoded: true,
  });
  const { type, status, packets, damages } = lines.at(-1);
  assertEquals([type, status, packets, damages], ["end", "failed", lines.length - 2, 1]);
});

test("inspect tells what of a damaged recording can be read", async () => {
  const text = await onDamaged();
  assertEquals(text.code, 3);
  assertMatch(
    text.stderr,
    /^multifd inspect: Packet has a wrong magic: .* \(channel 1, packet 1\)$/,
  );
  assertMatch(text.stdout, /^pc\.ram +8\.0 MiB +2048 +\d+ +\d+: 0x[0-9a-f]+ to 0x[0-9a-f]+/m);
  assertMatch(text.stdout, /^rounds that are whole on all channels: 1 of 3$/m);
  assertEquals(text.stdout.match(/^WRONG at 0x/gm)!.length, 2);
  const { stdout, code } = await onDamaged("--json");
  const report = JSON.parse(stdout);
  assertEquals([code, report.status, report["error-class"]], [3, "failed", "ProtocolError"]);
  assertEquals(report["per-channel"].map(({ syncs }: { syncs: number }) => syncs), [2, 3]);
  assertEquals(report.damages.length, 2);
  const [ram] = report.blocks;
  assert(ram["missing-pages"] > 0 && ram.missing.length > 0);
});

test("inspect --page tells of a page, in a recording and in a saved VM", async () => {
  const zero = await run(here, ["inspect", QPL, "--page", "pc.ram:0x7fffff"]);
  assertEquals([zero.code, zero.stderr], [0, "0x7fffff is in the page at 0x7ff000"]);
  assertMatch(zero.stdout, /^page 0x7ff000 of pc\.ram was sent once$/m);
  assertMatch(zero.stdout, /^last word: round 2, channel \d, packet \d+$/m);
  const bios = await run(here, ["inspect", QPL, "--page", "pc.bios:0", "--json"]);
  const { copies: [copy] } = JSON.parse(bios.stdout);
  assertEquals([copy.kind, copy.method, copy.last], ["normal", "qpl", true]);
  const directory = temporaryDirectory();
  const out = path.join(directory, "vm");
  await inspectPath(QPL, { extract: out });
  const saved = await run(here, ["inspect", out, "--page", "pc.bios:0", "--json"]);
  assertEquals(JSON.parse(saved.stdout).sha256, copy.sha256);
  fs.rmSync(directory, { recursive: true });
});

const REFUSED: [string[], string][] = [
  [["--packets", "--block", "pc.rma"], "Block pc.rma is unknown; there are: pc.ram, "],
  [["--page", "pc.ram"], "--page pc.ram is no page: write BLOCK:OFFSET"],
  [["--channel", "1"], "--channel goes with --packets only"],
  [["--packets", "--extract", "vm"], "--extract does not go with --packets"],
];

test("inspect refuses what is no channel, block or page", async () => {
  for (const [options, message] of REFUSED) {
    const outcome = await run(here, ["inspect", QPL, ...options]);
    assertEquals(outcome.code, 2);
    assertStringIncludes(outcome.stderr, message);
  }
});
