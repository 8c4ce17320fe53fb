/** A paused guest from QEMU to recv, from its directory to QEMU by send, and again. */
import { assertEquals } from "@std/assert";
import { VERSIONS } from "./fetch.ts";
import { type Block, imageHash, qemuTest } from "./_lab.ts";

const METHODS = ["none", "zlib", "zstd"];
const CHANNELS = [1, 2, 4, 16];

const rows = METHODS.flatMap((method) => CHANNELS.map((channels) => ({ method, channels })));

/** Who saves, who restores, and with what. */
const PAIRS = [
  { saver: "deno", restorer: "bun", args: ["--transport", "native"] },
  { saver: "bun", restorer: "deno", args: ["--transport", "runtime", "--engine", "builtin"] },
] as const;

for (const version of VERSIONS) {
  for (const { method, channels } of rows) {
    qemuTest(version, `${method} over ${channels} channels, there and back`, async (lab) => {
      let source = await lab.running({ version });
      await source.execute("stop");
      const memory = await source.memoryHash(lab.path("memory"));
      const saved: Block[][] = [];
      for (const [i, { saver, restorer, args }] of PAIRS.entries()) {
        const options = { method, channels, args: [...args] };
        saved.push(await lab.save(source, `vm${i}`, saver, options));
        source = await lab.restore(`vm${i}`, restorer, { version }, options);
        assertEquals(await source.memoryHash(lab.path("memory")), memory);
      }
      saved.push(await lab.save(source, "last", "deno", { method, channels }));
      assertEquals(saved[1], saved[0]);
      assertEquals(saved[2], saved[0]);
      assertEquals(imageHash(lab.path("last")), memory);
    });
  }
}
