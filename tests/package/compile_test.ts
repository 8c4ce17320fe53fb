/** The executable that `deno task compile` makes, with the shim beside it and without. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, test } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { compile } from "../../packaging/compile.ts";
import { moveBetween, type Program, run } from "../cli/_command.ts";
import { mixedPages, temporaryDirectory } from "../migration/_migrate.ts";
import { whyNotPackaged } from "./_shim.ts";

const skip = whyNotPackaged() ?? false;
const options = { skip, timeout: 120_000 };

let dist: string | undefined;
after(() => {
  if (dist !== undefined) fs.rmSync(dist, { recursive: true });
});

/** The command, compiled once; the executable is alone in `bare/`. */
async function withExecutable(
  work: (made: { directory: string; executable: string; bare: string }) => Promise<void>,
): Promise<void> {
  const directory = temporaryDirectory();
  try {
    if (dist === undefined) compile(dist = temporaryDirectory());
    const executable = path.join(dist, "multifd");
    const bare = path.join(directory, "bare", "multifd");
    fs.mkdirSync(path.dirname(bare));
    fs.linkSync(executable, bare);
    await work({ directory, executable, bare });
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

/** Moves an image, and compares it; how each side did it. */
async function move(
  sender: Program,
  receiver: Program,
  directory: string,
): Promise<{ sent: Record<string, unknown>; received: Record<string, unknown> }> {
  const image = path.join(directory, "guest.ram");
  const out = path.join(directory, "vm");
  fs.writeFileSync(image, mixedPages(512, 4096, 1));
  const { sent, received } = await moveBetween(sender, [image, "--json"], receiver, [
    "--out",
    out,
    "--json",
  ]);
  assertEquals([sent.code, received.code], [0, 0], sent.stderr + received.stderr);
  assertEquals(fs.readFileSync(path.join(out, "pc.ram")), fs.readFileSync(image));
  fs.rmSync(out, { recursive: true });
  return { sent: JSON.parse(sent.stdout), received: JSON.parse(received.stdout) };
}

// Bun compiles it, whatever the runtime that asks
if ("Deno" in globalThis) {
  test(
    "a compiled executable uses the shim beside it, with native workers",
    options,
    () =>
      withExecutable(async ({ directory, executable, bare }) => {
        const sending = await move({ executable }, "deno", directory);
        assertEquals([sending.sent.transport, sending.sent.engine], ["native", "zstd"]);
        const receiving = await move("deno", { executable }, directory);
        assertEquals([receiving.received.transport, receiving.received.engine], ["native", "zstd"]);

        const beside = path.join(path.dirname(executable), "isal.so");
        const { code, stdout, stderr } = await run({ executable }, ["doctor", "--json"]);
        assertEquals(code, 0, stderr);
        const { codecs } = JSON.parse(stdout);
        const isal = codecs.find(({ engine }: { engine: string }) => engine === "isal");
        assertEquals([isal.works, isal.file], ["software", beside]);

        // without a shim: the same, on the runtime's own
        const withoutShim = { executable: bare };
        const portable = await move(withoutShim, withoutShim, directory);
        for (const { transport, engine } of [portable.sent, portable.received]) {
          assertEquals([transport, engine], ["runtime", "builtin"]);
        }
        // and where it is started has no say
        fs.writeFileSync(path.join(directory, ".env"), "MULTIFD_SHIM_DIR=/nowhere\n");
        const send = ["send", "guest.ram", "--to", "127.0.0.1:1", "--transport", "native"];
        const refused = spawnSync(bare, send, { cwd: directory, encoding: "utf8" });
        assertEquals(refused.status, 1);
        assertStringIncludes(refused.stderr, `build-native ${path.dirname(bare)}`);
        assert(!refused.stderr.includes("/nowhere"), refused.stderr);
      }),
  );

  test(
    "a compiled executable runs every verb, and starts itself for demo",
    options,
    () =>
      withExecutable(async ({ directory, executable }) => {
        const { stdout } = await run({ executable }, ["--help"]);
        const verbs = [...stdout.matchAll(/^ {2}([a-z]+) {2,}\S/gm)].map(([, verb]) => verb!);
        assert(verbs.includes("send") && verbs.includes("demo"), stdout);
        for (const verb of verbs) {
          const help = await run({ executable }, [verb, "--help"]);
          assertEquals(help.code, 0, help.stderr);
          assertStringIncludes(help.stdout, `Usage: multifd ${verb}`);
        }
        const demo = await run({ executable }, [
          "demo",
          "--size",
          "2M",
          "--method",
          "qpl",
          "--json",
        ]);
        assertEquals(demo.code, 0, demo.stderr);
        assertEquals(JSON.parse(demo.stdout).runs[0].transport, "native");
        // an error keeps its name
        const inspect = await run({ executable }, ["inspect", directory, "--json"]);
        assertEquals(inspect.code, 1);
        assertEquals(JSON.parse(inspect.stdout)["error-class"], "ImageError");
      }),
  );
}
