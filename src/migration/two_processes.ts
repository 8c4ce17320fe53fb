/** A migration between two processes of the command `multifd`, and what they tell of it. */
import { type ChildProcess, spawn } from "node:child_process";
import { MultifdError } from "../errors.ts";
import { cancelledError } from "./lifeline.ts";

/** How the two are started. */
export interface TwoProcessesOptions {
  /** How the command is called. */
  command: readonly string[];
  /** The image that is sent. */
  image: string;
  /** Where it is received into. */
  out: string;
  /** Options of both. */
  both: readonly string[];
  /** Options of the sender alone. */
  send?: readonly string[] | undefined;
  /** Ends both early. */
  signal?: AbortSignal | undefined;
}

/** The figures of `send --json` and `recv --json` that are used here. */
export interface ProcessFigures {
  /** Engine of the method. */
  engine: string;
  /** Whose sockets it used. */
  transport: string;
  /** Milliseconds. */
  "total-time": number;
  /** Of the whole process. */
  "cpu-seconds": number;
  /** Before the first connection. */
  "start-up-cpu-seconds": number;
  /** After the last page. */
  "finish-cpu-seconds": number;
  /** Bytes of guest RAM, and on the wire. */
  ram: { total: number; transferred: number };
}

/**
 * Migrates once, over loopback and without hashes. Neither process is left when it returns.
 *
 * @throws {MultifdError} If one of them failed, with what it said.
 * @throws {CancelledError} If `signal` is aborted.
 */
export async function migrateBetweenProcesses(
  { command, image, out, both, send = [], signal }: TwoProcessesOptions,
): Promise<{ sent: ProcessFigures; received: ProcessFigures }> {
  const common = [...both, "--json", "--quiet"];
  const listen = ["--listen", "127.0.0.1:0", "--out", out, "--hash", "none"];
  const running = [start([...command, "recv", ...listen, ...common], signal)];
  try {
    const [receiver] = running as [Running];
    const address = await Promise.race([receiver.listening, receiver.figures.then(() => "")]);
    const sender = start([...command, "send", image, "--to", address, ...send, ...common], signal);
    running.push(sender);
    const [sent, received] = await Promise.all([sender.figures, receiver.figures]);
    return { sent, received };
  } catch (error) {
    throw signal?.aborted ? cancelledError(signal) : error;
  } finally {
    for (const { child } of running) child.kill();
    // what they clear away is gone then
    await Promise.all(running.map(({ closed }) => closed));
  }
}

interface Running {
  child: ChildProcess;
  /** What it prints on stdout, once it has ended well. */
  figures: Promise<ProcessFigures>;
  /** Where it listens. */
  listening: Promise<string>;
  closed: Promise<void>;
}

function start([program, ...args]: string[], signal: AbortSignal | undefined): Running {
  const child = spawn(program!, args, {
    stdio: ["ignore", "pipe", "pipe"],
    ...(signal === undefined ? {} : { signal }),
  });
  const listening = Promise.withResolvers<string>();
  let [output, messages] = ["", ""];
  child.stdout!.on("data", (chunk) => output += chunk);
  child.stderr!.on("data", (chunk) => {
    messages += chunk;
    const match = /^listening on (.*)\n/m.exec(messages);
    if (match !== null) listening.resolve(match[1]!);
  });
  const closed = new Promise<void>((resolve) => child.on("close", () => resolve()));
  const figures = new Promise<ProcessFigures>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) resolve(JSON.parse(output) as ProcessFigures);
      else reject(new MultifdError(`multifd ${args.join(" ")} failed:\n${messages}`));
    });
  });
  figures.catch(() => {});
  return { child, figures, listening: listening.promise, closed };
}
