/** Every TypeScript snippet of the documents and of the public symbols' comments runs. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { root } from "../_tools.ts";
import { documents, type Fence, fencesOf } from "./_fences.ts";

const ROOMS = ["src", "ffi", "native-shim"];

function sources(): string[] {
  return ROOMS.flatMap((room) =>
    fs.readdirSync(path.join(root, room), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => `${room}/${name}`)
  );
}

function snippets(): Fence[] {
  return [
    ...documents().flatMap((file) => fencesOf(file)),
    ...["mod.ts", ...sources()].flatMap((file) => fencesOf(file, "* ")),
  ].filter(({ info }) => info[0] === "ts" && !info.includes("no-eval"));
}

test("snippets are found", () => assert.ok(snippets().length >= 5));

for (const { file, line, text } of snippets()) {
  test(`${file}:${line} runs`, () => {
    // in the project, where the package's own name leads to it
    fs.mkdirSync(path.join(root, ".reports"), { recursive: true });
    const folder = fs.mkdtempSync(path.join(root, ".reports", "snippet-"));
    const script = path.join(folder, "snippet.ts");
    fs.writeFileSync(script, text);
    try {
      const args = "Deno" in globalThis ? ["run", "-A", "--no-check", script] : [script];
      const options = { cwd: folder, encoding: "utf8", timeout: 60_000 } as const;
      const run = spawnSync(process.execPath, args, options);
      assert.equal(run.status, 0, run.stderr);
      for (const [, expected] of text.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)) {
        assert.ok(
          said(run.stdout).includes(said(expected!)),
          `${expected} is not in ${run.stdout}`,
        );
      }
    } finally {
      fs.rmSync(folder, { recursive: true });
    }
  });
}

/** Runtimes break lines of what they print in different places. */
function said(text: string): string {
  return text.replaceAll(/\s+/g, "").replaceAll(",}", "}");
}
