/**
 * The public interface as text, for reviews to see what changes in it: `deno task api` writes
 * docs/api.txt, and a test compares it.
 */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { root } from "../tests/_tools.ts";

/** Where the report is kept. */
export const API_FILE: string = path.join(root, "docs", "api.txt");

/** Copies the modules without their documentation, which deno doc would print. */
function copyModules(directory: string): void {
  for (const file of fs.globSync(["mod.ts", "{src,ffi,native-shim}/**/*.ts"], { cwd: root })) {
    const text = fs.readFileSync(path.join(root, file), "utf8");
    const copy = path.join(directory, file);
    fs.mkdirSync(path.dirname(copy), { recursive: true });
    fs.writeFileSync(copy, text.replaceAll(/^[ \t]*\/\*\*[\s\S]*?\*\/\n/gm, ""));
  }
}

/** What a module exports, in deno doc's words. */
function exportsOf(module: string, directory: string): string {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["doc", "--quiet", "--no-config", module],
    { cwd: directory, encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } },
  );
  if (status !== 0) throw new Error(`Cannot tell what ${module} exports: ${stderr}`);
  return stdout.replaceAll(/^Defined in .*\n/gm, "").replaceAll(/\n{2,}/g, "\n\n").trim();
}

/** The report; needs Deno. */
export function apiReport(): string {
  const { name, exports } = JSON.parse(fs.readFileSync(path.join(root, "deno.json"), "utf8"));
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-api-"));
  try {
    copyModules(directory);
    return Object.entries<string>(exports)
      .map(([entry, module]) => `# ${path.join(name, entry)}\n\n${exportsOf(module, directory)}\n`)
      .join("\n");
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

if (import.meta.main) fs.writeFileSync(API_FILE, apiReport());
