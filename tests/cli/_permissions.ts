/** Deno's flags as README's table gives them. */
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { denoPath, root } from "../_tools.ts";
import type { Outcome } from "./_command.ts";

/**
 * The flags of a use.
 *
 * @param use As it stands in the table's first column.
 * @param where What the placeholders in capitals stand for.
 */
export function flagsOf(use: string, where: Record<string, string>): string[] {
  const readme = fs.readFileSync(path.join(root, "README.md"), "utf8");
  const rows = readme.split("\n").map((line) => line.split("|").map((cell) => cell.trim()));
  const row = rows.find(([, name]) => name?.replaceAll("`", "") === use);
  if (row === undefined) throw new Error(`README's table has no row ${use}`);
  if (row[2] === "none") return [];
  const flags = /^`([^`]+)`/.exec(row[2]!)?.[1];
  if (flags === undefined) throw new Error(`README's table has no flags for ${use}`);
  const missing = new Set(flags.match(/\b[A-Z]{3,}\b/g)?.filter((name) => !(name in where)));
  if (missing.size > 0) throw new Error(`README's flags for ${use} also name ${[...missing]}`);
  return flags.replaceAll(/\b[A-Z]{3,}\b/g, (name) => where[name]!).split(" ");
}

/** Flags with one thing that they allow left out, for each of those things. */
export function withoutOne(flags: string[]): { missing: string; left: string[] }[] {
  return flags.flatMap((flag) => {
    const [missing, list] = flag.split("=") as [string, string];
    const others = flags.filter((other) => other !== flag);
    const things = list.split(",");
    return things.map((thing) => {
      const rest = things.filter((other) => other !== thing);
      return { missing, left: rest.length > 0 ? [...others, `${missing}=${rest}`] : others };
    });
  });
}

/** The command under Deno with these flags and no others. */
export function runWith(
  flags: string[],
  args: string[],
  onListening?: (address: string) => void,
): Promise<Outcome> {
  const script = path.join(root, "src", "cli", "main.ts");
  // Deno's spawn() puts -A into a Deno's arguments that name no permission
  const some = "--allow-net=127.0.0.1:1";
  const child = spawn(denoPath()!, [
    "run",
    "--quiet",
    "--no-prompt",
    some,
    ...flags,
    script,
    ...args,
  ], {
    cwd: root,
    env: { ...process.env, NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const outcome: Outcome = { code: null, stdout: "", stderr: "" };
  child.stdout!.on("data", (text) => outcome.stdout += text);
  child.stderr!.on("data", (text) => {
    outcome.stderr += text;
    const address = /^listening on (.*)$/m.exec(outcome.stderr)?.[1];
    if (address !== undefined) onListening?.(address);
  });
  return new Promise<Outcome>((resolve) => {
    child.on("close", (code) => resolve({ ...outcome, code }));
  });
}
