/** The command, run as a user runs it: in a process of its own, under either runtime. */
import { type ChildProcess, spawn } from "node:child_process";
import path from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { bunPath, denoPath, root } from "../_tools.ts";

/** A runtime that can run the command. */
export type Runtime = "deno" | "bun";

/** What runs the command: a runtime, or an executable that is the command. */
export type Program = Runtime | { executable: string };

/** The runtime of this test. */
export const here: Runtime = "Deno" in globalThis ? "deno" : "bun";
/** The other one. */
export const there: Runtime = here === "deno" ? "bun" : "deno";

/**
 * What is the same under every runtime, and costs a process each: all of it under the runtime
 * that starts sooner, and the first under the other.
 */
export function onceOf<T>(cases: readonly T[]): readonly T[] {
  return here === "bun" ? cases : cases.slice(0, 1);
}

/** What a command did. */
export interface Outcome {
  /** Its exit code; null if a signal ended it. */
  code: number | null;
  /** What it printed on stdout. */
  stdout: string;
  /** What it printed on stderr. */
  stderr: string;
}

/** A command that runs. */
export interface Running {
  /** Its process. */
  child: ChildProcess;
  /** What it did, once it has ended. */
  outcome: Promise<Outcome>;
  /** Waits for a line on stderr; its first group, or undefined if the command ends first. */
  line(pattern: RegExp): Promise<string | undefined>;
}

/** The command's first words. */
function words(program: Program): [command: string, ...args: string[]] {
  if (typeof program === "object") return [program.executable];
  const script = path.join(root, "src", "cli", "main.ts");
  return program === "deno" ? [denoPath()!, "run", "-A", "--quiet", script] : [bunPath()!, script];
}

/** Starts the command, under a command of its own where that is given. */
export function start(program: Program, args: string[], under: string[] = []): Running {
  const [command, ...before] = [...under, ...words(program)] as [string, ...string[]];
  const child = spawn(command, [...before, ...args], {
    cwd: root,
    env: { ...process.env, NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines: string[] = [];
  const listeners = new Set<() => void>();
  let stdout = "";
  child.stdout!.setEncoding("utf8").on("data", (text: string) => stdout += text);
  createInterface({ input: child.stderr! }).on("line", (line) => {
    lines.push(line);
    for (const listener of listeners) listener();
  });
  const outcome = new Promise<Outcome>((resolve) => {
    child.on("close", (code) => resolve({ code, stdout, stderr: lines.join("\n") }));
  });
  const line = (pattern: RegExp): Promise<string | undefined> =>
    new Promise((resolve) => {
      const look = (): void => {
        const match = lines.map((line) => pattern.exec(line)).find((found) => found !== null);
        if (match) resolve(match[1] ?? match[0]);
      };
      listeners.add(look);
      look();
      outcome.then(() => resolve(undefined));
    });
  return { child, outcome, line };
}

/** Runs the command to its end. */
export function run(program: Program, args: string[]): Promise<Outcome> {
  return start(program, args).outcome;
}

/** Moves an image between two processes. */
export async function moveBetween(
  sender: Program,
  sendArgs: string[],
  receiver: Program,
  recvArgs: string[],
): Promise<{ sent: Outcome; received: Outcome }> {
  const recv = start(receiver, ["recv", "--listen", "127.0.0.1:0", "--timeout", "20", ...recvArgs]);
  const address = await recv.line(/^listening on (.*)$/);
  if (address === undefined) return { sent: await recv.outcome, received: await recv.outcome };
  const sent = await run(sender, ["send", ...sendArgs, "--to", address, "--timeout", "20"]);
  return { sent, received: await recv.outcome };
}
