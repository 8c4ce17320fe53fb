import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { here, onceOf, run, start } from "../cli/_command.ts";
import { temporaryDirectory } from "../migration/_migrate.ts";
import { FakeQemu, refusal } from "./_fake_qemu.ts";

test("save and restore --help begin with what they move, and teach by example", async () => {
  for (const verb of ["save", "restore"]) {
    const { code, stdout } = await run(here, [verb, "--help"]);
    assertEquals(code, 0);
    assertMatch(stdout.split("\n")[0]!, /RAM and device state only, no disks\./);
    assertMatch(stdout, new RegExp(`\n  multifd ${verb} .*--qmp /run/vm.qmp`));
  }
});

test("save and restore --json tell our figures, and QEMU's own under qemu", async () => {
  const directory = temporaryDirectory();
  const into = path.join(directory, "vm");
  const source = await FakeQemu.start();
  const save = await run(here, [
    "save",
    "--qmp",
    source.socket,
    "--out",
    into,
    "--resume",
    "--json",
  ]);
  assertEquals(save.code, 0, save.stderr);
  const saved = JSON.parse(save.stdout);
  assertEquals([saved.status, saved.ram.total, saved.sync], ["completed", 300 * 4096, "round"]);
  assertEquals(saved.guest, { before: "running", after: "running" });
  assertEquals([saved.qemu.version, saved.qemu.status, saved.qemu.downtime], [
    "10.0.2",
    "completed",
    3,
  ]);
  await source.stop();

  const destination = await FakeQemu.startIncoming();
  const restore = await run(here, ["restore", into, "--qmp", destination.socket, "--json"]);
  assertEquals(restore.code, 0, restore.stderr);
  const restored = JSON.parse(restore.stdout);
  assertEquals([restored.method, restored.guest.after, restored.qemu.status], [
    "zstd",
    "running",
    "completed",
  ]);
  assertEquals(destination.image.memory.get("pc.ram"), source.image.memory.get("pc.ram"));
  await destination.stop();
  fs.rmSync(directory, { recursive: true });
});

test("save and restore say in a line how the guest is", async () => {
  const directory = temporaryDirectory();
  const into = path.join(directory, "vm");
  const source = await FakeQemu.start();
  const save = await run(here, ["save", "--qmp", source.socket, "--out", into]);
  assertMatch(save.stdout, /^saved .*\nQEMU 10.0.2: .*the guest was running, is postmigrate\n/);
  await source.stop();
  const destination = await FakeQemu.startIncoming();
  const restore = await run(here, ["restore", into, "--qmp", destination.socket]);
  assertMatch(restore.stdout, /^restored .*\nQEMU 10.0.2: the guest is running\n/);
  await destination.stop();
  fs.rmSync(directory, { recursive: true });
});

test("save fails with QEMU's words and 1, and the guest's state in the JSON", async () => {
  const qemu = await FakeQemu.start();
  qemu.handlers.set("migrate", () => refusal("Migration is disabled"));
  const into = path.join(path.dirname(qemu.socket), "vm");
  const { code, stdout, stderr } = await run(here, [
    "save",
    "--qmp",
    qemu.socket,
    "--out",
    into,
    "--json",
  ]);
  assertEquals(code, 1);
  const failure = JSON.parse(stdout);
  assertEquals([failure.status, failure.desc, failure.guest], [
    "failed",
    "Migration is disabled",
    "running",
  ]);
  assertMatch(stderr, /^multifd save: QEMU refused migrate: Migration is disabled/m);
  await qemu.stop();
});

test("save is told by SIGINT to leave QEMU as it was", async () => {
  const qemu = await FakeQemu.start();
  const before = structuredClone(qemu.settings);
  const asked = Promise.withResolvers<void>();
  // a migration that never begins
  qemu.handlers.set("migrate", () => {
    qemu.migration = { status: "active" };
    asked.resolve();
    return { return: {} };
  });
  qemu.handlers.set("migrate_cancel", () => {
    qemu.migration = { status: "cancelled" };
    return { return: {} };
  });
  const into = path.join(path.dirname(qemu.socket), "vm");
  const running = start(here, ["save", "--qmp", qemu.socket, "--out", into]);
  await asked.promise;
  // after child.kill() Deno tells the signal in the place of the exit code
  process.kill(running.child.pid!, "SIGINT");
  const { code, stderr } = await running.outcome;
  assertEquals(code, 1);
  assertMatch(stderr, /Migration was cancelled: SIGINT \(the guest is running\)/);
  assertEquals(qemu.settings, before);
  assert(!fs.existsSync(into));
  await qemu.stop();
});

const WRONG: [args: string[], message: RegExp][] = [
  [["save", "--out", "vm"], /--qmp is missing/],
  [["save", "--qmp", "x.sock"], /--out is missing/],
  [["save", "vm", "--qmp", "x.sock", "--out", "vm"], /one too many/],
  [["save", "--qmp", "x.sock", "--out", "vm", "--level", "3"], /level needs a method/],
  [["restore", "--qmp", "x.sock"], /SAVED is missing/],
  [["restore", "a", "b", "--qmp", "x.sock"], /Argument b is one too many/],
  [["restore", "a"], /--qmp is missing/],
];
for (const [args, message] of onceOf(WRONG)) {
  test(`multifd ${args.join(" ")} is a usage error`, async () => {
    const { code, stderr } = await run(here, args);
    assertEquals(code, 2, stderr);
    assertMatch(stderr, message);
  });
}
