/** A paused guest from QEMU to recv, from its directory to QEMU by send, and again. */
import { assert, assertEquals } from "@std/assert";
import { builtQemu } from "./build.ts";
import { type Block, imageHash, qemuTest, SUBJECTS } from "./_lab.ts";
import type { QemuMigration } from "./_qemu.ts";

const CHANNELS = [1, 2, 4, 16];

/** Who saves, who restores, and with what. */
const PAIRS = [
  { saver: "deno", restorer: "bun", args: ["--transport", "native"] },
  { saver: "bun", restorer: "deno", args: ["--transport", "runtime", "--engine", "builtin"] },
] as const;

for (const { qemu, methods } of SUBJECTS) {
  const rows = methods.flatMap((method) => CHANNELS.map((channels) => ({ method, channels })));
  for (const { method, channels } of rows) {
    const name = `${method} over ${channels} channels, there and back`;
    qemuTest(qemu.version, name, async (lab) => {
      let source = await lab.running(qemu);
      await source.execute("stop");
      const memory = await source.memoryHash(lab.path("memory"));
      const saved: Block[][] = [];
      for (const [i, { saver, restorer, args }] of PAIRS.entries()) {
        const options = { method, channels, args: [...args] };
        saved.push(await lab.save(source, `vm${i}`, saver, options));
        source = await lab.restore(`vm${i}`, restorer, qemu, options);
        assertEquals(await source.memoryHash(lab.path("memory")), memory);
      }
      saved.push(await lab.save(source, "last", "deno", { method, channels }));
      assertEquals(saved[1], saved[0]);
      assertEquals(saved[2], saved[0]);
      assertEquals(imageHash(lab.path("last")), memory);
    }, qemu.program);
  }
}

const built = builtQemu();
if (built !== undefined) {
  const program = { ...built, env: { ...built.env, SIMULATED_UADK: "1" } };
  qemuTest("10.0", "uadk on a simulated device, there and back", async (lab) => {
    const qemu = { version: "10.0", program } as const;
    const source = await lab.running(qemu);
    await source.execute("stop");
    const memory = await source.memoryHash(lab.path("memory"));
    const options = { method: "uadk" };
    const saved = await lab.save(source, "vm", "deno", options);
    const { ram } = await source.execute<QemuMigration>("query-migrate");
    // the device did compress, or nothing was tested
    assert(ram!.transferred! < ram!["normal-bytes"]!);
    const compressing = { ...options, args: ["--uadk-compress"] };
    const restored = await lab.restore("vm", "bun", qemu, compressing);
    assertEquals(await restored.memoryHash(lab.path("memory")), memory);
    assertEquals(await lab.save(restored, "again", "bun", options), saved);
  }, program);
}
