/** `multifd save` and `multifd restore`, with a guest that runs. */
import process from "node:process";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { VERSIONS } from "./fetch.ts";
import { countRounds, savedAt } from "./_guest.ts";
import { type Lab, qemuTest } from "./_lab.ts";
import type { Qemu, QemuOptions } from "./_qemu.ts";
import { within } from "./_wait.ts";

/** How a QEMU's migrations are set, which the command must leave as it is. */
async function settings(qemu: Qemu): Promise<unknown[]> {
  const capabilities = await qemu.execute("query-migrate-capabilities");
  return [capabilities, await qemu.execute("query-migrate-parameters")];
}

for (const version of VERSIONS) {
  for (const runtime of ["deno", "bun"] as const) {
    qemuTest(
      version,
      `save pauses a guest, and restore goes on with it, ${runtime}`,
      async (lab) => {
        const source = await lab.running({ version });
        const set = await settings(source);
        const vm = lab.path("vm");
        const saved = await lab.run(runtime, 0, "save", "--qmp", source.qmpSocket, "--out", vm);
        assertEquals(saved.result.guest, { before: "running", after: "postmigrate" });
        assertEquals(saved.result.qemu.status, "completed");
        assertEquals(await settings(source), set);
        const target = await lab.waiting({ version });
        const restored = await lab.run(runtime, 0, "restore", vm, "--qmp", target.qmpSocket);
        assertEquals(restored.result.guest, { before: "inmigrate", after: "running" });
        assertEquals(await settings(target), set);
        await target.guestGoesOn();
        countRounds(source.console + target.console);
      },
    );

    for (const method of ["zlib", "zstd"]) {
      qemuTest(version, `save --resume lets a guest go on, ${method}, ${runtime}`, async (lab) => {
        const source = await lab.running({ version });
        const how = ["--method", method, "--channels", "4", "--resume"];
        const where = ["--qmp", source.qmpSocket, "--out", lab.path("vm")];
        const { result } = await lab.run(runtime, 0, "save", ...where, ...how);
        assertEquals(result.guest, { before: "running", after: "running" });
        assertEquals([result.method, result.channels], [method, 4]);
        await source.guestGoesOn();
        countRounds(source.console);
        const target = await lab.waiting({ version });
        await lab.run(runtime, 0, "restore", lab.path("vm"), "--qmp", target.qmpSocket);
        await target.guestGoesOn();
        assert(countRounds(savedAt(source.console, target.console)) > 0);
      });
    }
  }
}

/** Saves a guest that went on after a failure. */
async function saveAfterAll(lab: Lab, source: Qemu): Promise<void> {
  await source.guestGoesOn();
  assert(!lab.files("vm").includes("vm"));
  // one that was killed could not put back that QEMU is slow
  const args = ["--out", lab.path("vm"), "--max-bandwidth", "1G"];
  await lab.run("bun", 0, "save", "--qmp", source.qmpSocket, ...args);
  assertEquals(lab.files("vm"), ["vm"]);
  const target = await lab.waiting({ version: source.version });
  await lab.run("deno", 0, "restore", lab.path("vm"), "--qmp", target.qmpSocket);
  await target.guestGoesOn();
  countRounds(source.console + target.console);
}

for (const version of VERSIONS) {
  qemuTest(version, "save that fails lets the guest go on as it was", async (lab) => {
    const source = await lab.running({ version });
    const set = await settings(source);
    const where = ["--qmp", source.qmpSocket, "--out", lab.path("vm")];
    const { stderr } = await lab.run("deno", 3, "save", ...where, "--max-ram", "1M");
    assertMatch(stderr, /max-ram/);
    assertEquals(await source.state(), "running");
    assertEquals(await settings(source), set);
    await saveAfterAll(lab, source);
  });

  for (const signal of ["SIGINT", "SIGKILL"] as const) {
    qemuTest(version, `save that ends by ${signal} lets the guest go on`, async (lab) => {
      const source = await lab.running({ version });
      const set = await settings(source);
      const where = ["--qmp", source.qmpSocket, "--out", lab.path("vm")];
      const save = lab.multifd("bun", "save", ...where, "--max-bandwidth", "1M");
      await source.moves();
      process.kill(save.child.pid!, signal);
      const { code, stderr } = await within("save ends", save.outcome);
      if (signal === "SIGINT") {
        assertEquals(code, 1, stderr);
        assertMatch(stderr, /cancelled: SIGINT.*running/);
        assertEquals(await settings(source), set);
      }
      await source.migrated();
      assertEquals(await source.state(), "running");
      await saveAfterAll(lab, source);
    });
  }

  qemuTest(version, "save of a paused guest restores it paused", async (lab) => {
    const source = await lab.running({ version });
    await source.execute("stop");
    await lab.run("deno", 0, "save", "--qmp", source.qmpSocket, "--out", lab.path("vm"));
    const target = await lab.waiting({ version });
    const args = [lab.path("vm"), "--qmp", target.qmpSocket];
    const { result } = await lab.run("bun", 0, "restore", ...args);
    assertEquals(result.guest.after, "paused");
    assertEquals(target.console, "");
    await target.execute("cont");
    await target.guestGoesOn();
    countRounds(source.console + target.console);
  });

  qemuTest(version, "restore refuses a QEMU that does not fit", async (lab) => {
    const source = await lab.running({ version, args: ["-device", "virtio-rng-pci"] });
    await lab.run("bun", 0, "save", "--qmp", source.qmpSocket, "--out", lab.path("vm"));
    const misfits: [QemuOptions, RegExp][] = [
      [{ version, machine: `pc-i440fx-${version}` }, /machine type is not/],
      [{ version, args: ["-m", "48"] }, /memory size is not/],
      // without the device
      [
        { version },
        version === "7.2" ? /QEMU ended while/ : /QEMU says failed, load of migration failed/,
      ],
    ];
    for (const [options, says] of misfits) {
      const target = await lab.waiting(options);
      const args = [lab.path("vm"), "--qmp", target.qmpSocket];
      const { stderr } = await lab.run("deno", 1, "restore", ...args);
      assertMatch(stderr, says);
      assertEquals(target.console, "");
    }
    const args = [lab.path("vm"), "--qmp", source.qmpSocket];
    const { stderr } = await lab.run("deno", 1, "restore", ...args);
    assertMatch(stderr, /a QEMU whose guest is postmigrate/);
  });
}
