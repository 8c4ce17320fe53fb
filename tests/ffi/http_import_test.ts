/** Imported over HTTP, as from a registry: native workers, with exactly the documented flags. */
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { denoPath, root } from "../_tools.ts";
import { temporaryDirectory } from "../migration/_migrate.ts";
import { migration, run, servePackage } from "./_package.ts";

// under Bun there is no import over HTTP
if ("Deno" in globalThis) {
  const shim = path.join(root, "native-shim", "build");
  const skip = !fs.existsSync(path.join(shim, "zstd.so")) && "zstd.so is missing";

  test("mod.ts imported over HTTP moves an image with native workers", { skip }, async () => {
    const { host, close } = await servePackage();
    const directory = temporaryDirectory();
    try {
      fs.writeFileSync(path.join(directory, "script.ts"), migration(`http://${host}/mod.ts`));
      const ended = await run(denoPath()!, [
        ...["run", "--no-prompt", "--no-check", "--quiet", "--no-config"],
        `--allow-import=${host}`,
        "--allow-net=127.0.0.1",
        "--allow-env=MULTIFD_SHIM_DIR",
        `--allow-ffi=${shim}`,
        "script.ts",
      ], {
        cwd: directory,
        env: { MULTIFD_SHIM_DIR: shim, DENO_DIR: path.join(directory, "cache") },
      });
      assertEquals(ended, { code: 0, stdout: "native zstd true\n", stderr: "" });
    } finally {
      close();
      fs.rmSync(directory, { recursive: true });
    }
  });
}
