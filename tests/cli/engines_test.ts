/** Engines as the command offers them: the list, a device that is not there, a simulated one. */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { findLibrary } from "../../ffi/find.ts";
import { CODEC_SYMBOLS } from "../../ffi/symbols.ts";
import { mixedPages, temporaryDirectory } from "../migration/_migrate.ts";
import { here, moveBetween, run } from "./_command.ts";

/** Why a simulated device cannot be tried here. */
function whyNot(library: string): string | false {
  try {
    findLibrary(library, CODEC_SYMBOLS);
    return false;
  } catch {
    return `${library}.so was not built`;
  }
}

test("--engine list names every engine, what it can do and why it cannot", async () => {
  const { code, stdout } = await run(here, ["send", "--engine", "list"]);
  assertEquals(code, 0);
  assertMatch(stdout, /^builtin +runtime +zlib zstd qpl uadk qatzip/m);
  assertMatch(stdout, /^iaa: .+/m);
  const json = await run(here, ["recv", "--engine", "list", "--json"]);
  const { status, engines } = JSON.parse(json.stdout) as {
    status: string;
    engines: { name: string; unavailable: string | null }[];
  };
  assertEquals(status, "completed");
  assertEquals(engines.map(({ name }) => name), [
    ...["iaa", "qat", "isal", "libdeflate", "zstd", "qpl", "builtin"],
  ]);
  assertEquals(engines.at(-1)!.unavailable, null);
});

for (const [method, engine] of [["qpl", "iaa"], ["qatzip", "qat"]] as const) {
  test(`--engine ${engine} fails at set-up without the device, before it connects`, async () => {
    const { code, stderr } = await run(here, [
      ...["send", "/dev/null", "--to", "127.0.0.1:1"],
      ...["--method", method, "--engine", engine],
    ]);
    assertEquals(code, 1);
    assertMatch(stderr, new RegExp(`^multifd send: .*(${engine}|${method})`));
    assert(!stderr.includes("connect"), stderr);
  });

  test(`--simulate --verify moves ${method} whole over a device that corrupts`, {
    skip: whyNot(`sim/${method}`),
  }, async () => {
    const directory = temporaryDirectory();
    const image = path.join(directory, "guest.ram");
    const pages = mixedPages(4096, 4096, 3);
    fs.writeFileSync(image, pages);
    process.env.MULTIFD_SIM = "seed=5 corrupt=0.1 status=0.1 statuses=-5,219";
    try {
      const out = path.join(directory, "vm");
      const { sent, received } = await moveBetween(
        here,
        [image, "--method", method, "--simulate", "--verify", "--json"],
        here,
        ["--out", out, "--json"],
      );
      assertEquals([sent.code, received.code], [0, 0], sent.stderr + received.stderr);
      const info = JSON.parse(sent.stdout);
      assertEquals([info.engine, info.simulated], [`${engine}-simulated`, true]);
      const caught = info["per-channel"]
        .reduce(
          (sum: number, channel: Record<string, number>) => sum + channel["verify-caught"]!,
          0,
        );
      assert(caught > 0);
      const counts = info["engine-counts"];
      assert(counts["device-pages"] > 0 && counts["software-pages"] > 0, sent.stdout);
      assert(Object.keys(counts.failures).length > 0, sent.stdout);
      const arrived = fs.readFileSync(path.join(out, "pc.ram"));
      assert(arrived.equals(pages));
    } finally {
      delete process.env.MULTIFD_SIM;
      fs.rmSync(directory, { recursive: true });
    }
  });
}

test("--simulate says that only qpl and qatzip have simulated devices", async () => {
  const { code, stderr } = await run(here, [
    ...["send", "/dev/null", "--to", "127.0.0.1:1", "--method", "zstd", "--simulate"],
  ]);
  assertEquals(code, 1);
  assertStringIncludes(stderr, "only qpl and qatzip");
});
