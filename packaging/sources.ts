/**
 * What the shim is built from, and each file's checksum: `deno task sources` writes
 * native-shim/sources.ts, and a test compares it.
 */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { root } from "../tests/_tools.ts";

const folder = path.join(root, "native-shim");

/** Where they are told. */
export const SOURCES_FILE: string = path.join(folder, "sources.ts");

/** The module's text. */
export function sourcesModule(): string {
  const names = fs.globSync(["Makefile", "*.{c,h}"], { cwd: folder }).sort();
  const lines = names.map((name) => {
    const sum = createHash("sha256").update(fs.readFileSync(path.join(folder, name))).digest("hex");
    const key = name.includes(".") ? JSON.stringify(name) : name;
    return `  ${key}: "${sum}",\n`;
  });
  return `/** What the shim is built from, by \`deno task sources\`. */

/** Each file of this folder, and the SHA-256 that it must have where it is fetched. */
export const SOURCES: Readonly<Record<string, string>> = {
${lines.join("")}};
`;
}

if (import.meta.main) fs.writeFileSync(SOURCES_FILE, sourcesModule());
