/** The code fences of the project's documents. */
import fs from "node:fs";
import path from "node:path";
import { root } from "../_tools.ts";

/** A fence. */
export interface Fence {
  /** The document, from the project's folder. */
  file: string;
  /** The line it starts at, counted from 1. */
  line: number;
  /** What stands behind the ticks, e.g. `["sh"]`. */
  info: string[];
  /** What is in it. */
  text: string;
}

/** README and docs/. */
export function documents(): string[] {
  const docs = fs.readdirSync(path.join(root, "docs")).filter((name) => name.endsWith(".md"));
  return ["README.md", "CONTRIBUTING.md", ...docs.map((name) => `docs/${name}`)];
}

/** All fences of a document; `prefix` is what each line of a comment starts with. */
export function fencesOf(file: string, prefix = ""): Fence[] {
  const fences: Fence[] = [];
  let open: Fence | undefined;
  const lines = fs.readFileSync(path.join(root, file), "utf8").split("\n");
  for (const [i, raw] of lines.entries()) {
    const line = raw.trimStart().startsWith(prefix.trim())
      ? raw.trimStart().slice(prefix.length)
      : raw;
    if (!line.trimStart().startsWith("```")) {
      if (open !== undefined) open.text += `${line}\n`;
    } else if (open === undefined) {
      const info = line.trim().slice(3).split(" ").filter((word) => word !== "");
      open = { file, line: i + 1, info, text: "" };
    } else {
      fences.push(open);
      open = undefined;
    }
  }
  return fences;
}
