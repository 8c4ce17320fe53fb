/** Processes that are measured: `multifd` under either runtime, and C programs that print the same. */
import { type ChildProcess, spawn } from "node:child_process";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { methodByName } from "../src/methods/registry.ts";

const here = path.dirname(fileURLToPath(import.meta.url));

/** The runtimes that `multifd` runs under. */
export const RUNTIMES = ["deno", "bun"] as const;

/** What the programs print, as far as it is used; raw runs keep all of it. */
export interface Figures {
  "total-time": number;
  "finish-time"?: number;
  "cpu-seconds": number;
  "start-up-cpu-seconds"?: number;
  "finish-cpu-seconds"?: number;
  engine?: string;
  transport?: string;
  ram: { "multifd-bytes": number; transferred?: number };
}

const children = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of children) child.kill("SIGKILL");
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

/** Starts a process that does not outlive this one. */
export function spawnChild(
  command: readonly string[],
  stdin: "ignore" | "pipe" = "ignore",
  env: Record<string, string> = {},
): ChildProcess {
  const child = spawn(command[0]!, command.slice(1), {
    stdio: [stdin, "pipe", "pipe"],
    env: { ...process.env, ...env },
  });
  children.add(child);
  child.on("close", () => children.delete(child));
  return child;
}

/** A program that runs. */
export interface Running {
  child: ChildProcess;
  /** The JSON that it prints. */
  figures: Promise<Figures>;
  /** The address it listens on. */
  listening: Promise<string>;
}

/** Starts a program that tells its address on stderr, and its figures as JSON on stdout. */
export function start(command: readonly string[]): Running {
  const child = spawnChild(command);
  const listening = Promise.withResolvers<string>();
  let output = "";
  let messages = "";
  child.stdout!.on("data", (chunk) => output += chunk);
  child.stderr!.on("data", (chunk) => {
    messages += chunk;
    const match = /^listening on (.*)\n/m.exec(messages);
    if (match !== null) listening.resolve(match[1]!);
  });
  const figures = new Promise<Figures>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) resolve(JSON.parse(output) as Figures);
      else reject(new Error(`${command.join(" ")} failed (${code}):\n${messages}`));
    });
  });
  figures.then(
    () => listening.reject(new Error(`${command.join(" ")} did not listen`)),
    (error) => listening.reject(error),
  );
  listening.promise.catch(() => {});
  return { child, figures, listening: listening.promise };
}

/** How `multifd` is called under a runtime. */
export function multifd(runtime: string): string[] {
  const isDeno = "Deno" in globalThis;
  const main = path.join(here, "../src/cli/main.ts");
  if (runtime === "deno") return [isDeno ? process.execPath : "deno", "run", "-A", main];
  return [isDeno ? path.join(here, "../node_modules/.bin/bun") : process.execPath, main];
}

/** Options of both ends. */
export interface Ends {
  method: string;
  channels: number;
  transport?: string | undefined;
  /** The sender's limit, as `--max-bandwidth` takes it. */
  maxBandwidth?: string | undefined;
}

const LEVEL = "1";

/** Whether a method has levels; all are measured at the first. */
export function hasLevels(method: string): boolean {
  return methodByName(method)?.levels !== undefined;
}

function both({ method, channels, transport }: Ends): string[] {
  const options = ["--method", method, "--channels", String(channels), "--json", "--quiet"];
  return transport === undefined ? options : [...options, "--transport", transport];
}

/** `multifd recv` into a directory, on any port. */
export function recvCommand(runtime: string, out: string, ends: Ends, hash = "none"): string[] {
  const to = ["--listen", "127.0.0.1:0", "--hash", hash, "--out", out];
  return [...multifd(runtime), "recv", ...to, ...both(ends)];
}

/** `multifd send` to an address. */
export function sendCommand(
  runtime: string,
  images: readonly string[],
  to: string,
  ends: Ends,
): string[] {
  const level = hasLevels(ends.method) ? ["--level", LEVEL] : [];
  const limit = ends.maxBandwidth === undefined ? [] : ["--max-bandwidth", ends.maxBandwidth];
  return [...multifd(runtime), "send", ...images, "--to", to, ...level, ...limit, ...both(ends)];
}

/**
 * Starts the receiver, then the sender that it told its address.
 *
 * @param ready Called between the two.
 */
export async function move(
  receive: readonly string[],
  send: (address: string) => readonly string[],
  ready: (receiver: Running) => void,
): Promise<[sent: Figures, received: Figures]> {
  const receiver = start(receive);
  const address = await receiver.listening;
  ready(receiver);
  return await bothEnds(start(send(address)), receiver);
}

/** How long the other end of a failed one has to end by itself, in milliseconds. */
const FAREWELL_MS = 5000;

/** The figures of two ends; if one fails, both may know why. */
async function bothEnds(sender: Running, receiver: Running): Promise<[Figures, Figures]> {
  const ends = [sender, receiver];
  const giveUp = (): void => {
    setTimeout(() => ends.forEach(({ child }) => child.kill()), FAREWELL_MS);
  };
  for (const { figures } of ends) figures.catch(giveUp);
  const results = await Promise.allSettled(ends.map(({ figures }) => figures));
  const errors = results.filter((result) => result.status === "rejected");
  if (errors.length > 0) throw new Error(errors.map(({ reason }) => reason.message).join("\n"));
  return [await sender.figures, await receiver.figures];
}

/** CPU seconds from the first connection on: start-up is not the migration's. */
export function migrationCpu(figures: Figures): number {
  return figures["cpu-seconds"] - (figures["start-up-cpu-seconds"] ?? 0);
}

/** Milliseconds from the first connection to the destination's word that all is well. */
export function wholeTime(figures: Figures): number {
  return figures["total-time"] + (figures["finish-time"] ?? 0);
}
