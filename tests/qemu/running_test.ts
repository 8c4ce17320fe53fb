/** A guest that runs, and goes on whatever becomes of its migration. */
import fs from "node:fs";
import process from "node:process";
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { VERSIONS } from "./fetch.ts";
import { countRounds } from "./_guest.ts";
import { qemuTest, SUBJECTS } from "./_lab.ts";
import { SLOWLY } from "./_qemu.ts";
import { until, within } from "./_wait.ts";

for (const { qemu, methods } of SUBJECTS) {
  for (const method of methods) {
    qemuTest(qemu.version, `a running guest is saved with ${method} and counts on`, async (lab) => {
      const source = await lab.running(qemu);
      await lab.save(source, "vm", "deno", { method });
      assertEquals(await source.state(), "postmigrate");
      const target = await lab.restore("vm", "bun", qemu, { method });
      assertEquals(await target.state(), "running");
      const before = countRounds(source.console);
      await target.guestGoesOn();
      assert(countRounds(source.console + target.console) > before);
    }, qemu.program);
  }
}

for (const version of VERSIONS) {
  qemuTest(version, "a guest that cannot be saved goes on, and is saved again", async (lab) => {
    const source = await lab.running({ version });
    const recv = await lab.recv("bun", "--out", lab.path("vm"), "--method", "zstd");
    await source.configure({ method: "zlib" });
    await source.migrate(recv.uri);
    const { code, stderr } = await within("recv ends", recv.running.outcome);
    assertEquals(code, 3, stderr);
    assertMatch(stderr, /zstd.*zlib/);
    assertEquals(await source.migrated(), "failed");
    await source.guestGoesOn();
    await lab.save(source, "vm", "deno", { method: "zlib" });
    const target = await lab.restore("vm", "deno", { version }, {});
    await target.guestGoesOn();
    countRounds(source.console + target.console);
  });

  for (const canceller of ["QEMU", "recv"]) {
    qemuTest(version, `a guest goes on after ${canceller} cancels, and is saved`, async (lab) => {
      const source = await lab.running({ version });
      const recv = await lab.recv("deno", "--out", lab.path("vm"));
      await source.configure({ method: "zstd", parameters: SLOWLY });
      await source.migrate(recv.uri);
      await source.moves();
      if (canceller === "QEMU") await source.execute("migrate_cancel");
      else process.kill(recv.running.child.pid!, "SIGINT");
      const { code, stderr } = await within("recv ends", recv.running.outcome);
      assertEquals(code, canceller === "QEMU" ? 3 : 1, stderr);
      assertEquals(await source.migrated(), canceller === "QEMU" ? "cancelled" : "failed");
      assertEquals(lab.files("vm"), []);
      await source.guestGoesOn();
      await lab.save(source, "vm", "bun", { method: "zstd" });
      const target = await lab.restore("vm", "deno", { version }, { method: "zstd" });
      await target.guestGoesOn();
      countRounds(source.console + target.console);
    });
  }
}

qemuTest("10.0", "the guest notices a changed word", async (lab) => {
  const address = 0x654320;
  const source = await lab.running({ version: "10.0" });
  await lab.save(source, "vm", "bun", {});
  const fd = fs.openSync(lab.path("vm/pc.ram"), "r+");
  const word = new Uint32Array(1);
  fs.readSync(fd, word, 0, 4, address);
  fs.writeSync(fd, word.map((value) => value ^ 1), 0, 4, address);
  fs.closeSync(fd);
  const target = await lab.restore("vm", "deno", { version: "10.0" }, {});
  await until("the guest notices", () => /BAD .*\n/.test(target.console));
  assertStringIncludes(target.console, `BAD 00${address.toString(16)}`);
  assertThrows(() => countRounds(source.console + target.console), Error, "Guest should say");
});
