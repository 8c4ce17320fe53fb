/** A paused guest from QEMU to recv, from its directory to QEMU by send, and again. */
import { assert, assertEquals } from "@std/assert";
import { builtQemu } from "./build.ts";
import { type QemuCommand, type Version, VERSIONS } from "./fetch.ts";
import { type Block, imageHash, qemuTest } from "./_lab.ts";
import type { QemuMigration } from "./_qemu.ts";

const CHANNELS = [1, 2, 4, 16];

/** Who saves, who restores, and with what. */
const PAIRS = [
  { saver: "deno", restorer: "bun", args: ["--transport", "native"] },
  { saver: "bun", restorer: "deno", args: ["--transport", "runtime", "--engine", "builtin"] },
] as const;

/** Tests of some methods with each number of channels. */
function testMatrix(version: Version, methods: string[], program?: QemuCommand): void {
  const rows = methods.flatMap((method) => CHANNELS.map((channels) => ({ method, channels })));
  const qemu = program === undefined ? { version } : { version, program };
  for (const { method, channels } of rows) {
    qemuTest(version, `${method} over ${channels} channels, there and back`, async (lab) => {
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
    }, program);
  }
}

for (const version of VERSIONS) testMatrix(version, ["none", "zlib", "zstd"]);
// Debian's QEMU has none of them: only where deno task build:qemu has made one
const built = builtQemu();
if (built !== undefined) {
  testMatrix("10.0", ["qpl", "uadk", "qatzip"], built);
  const simulated = { ...built, env: { ...built.env, SIMULATED_UADK: "1" } };
  qemuTest("10.0", "uadk on a simulated device, there and back", async (lab) => {
    const qemu = { version: "10.0", program: simulated } as const;
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
  }, simulated);
}
