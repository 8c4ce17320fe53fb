/** A QEMU that is measured: a paused guest, moved by commands of its monitor. */
import fs from "node:fs";
import { createInterface } from "node:readline";
import { builtQemu } from "../tests/qemu/build.ts";
import { qemuCommand, versionOf } from "../tests/qemu/fetch.ts";
import { hasLevels, spawnChild } from "./_process.ts";
import { statFields, TICKS } from "./_load.ts";

/** The RAM block's name: the one that a machine without a memory backend gives it. */
export const BLOCK = "pc.ram";
/** The longest wait for an answer and for a migration, in milliseconds. */
const ANSWER_MS = 60_000;
const MIGRATION_MS = 600_000;
/** Bytes a second; QEMU's own limit of 128 MiB/s would be what is measured. */
const NO_LIMIT = 1e12;

/** A QEMU to measure. */
export interface QemuProgram {
  command: readonly string[];
  env: Record<string, string>;
  version: string;
}

/**
 * The QEMU at a path; without one that of tests/qemu/build.ts, which has every method, or the 10.0
 * that the tests fetch; undefined if there is none.
 */
export function findQemu(file: string | undefined): QemuProgram | undefined {
  const program = file === undefined
    ? builtQemu() ?? qemuCommand("10.0")
    : { command: file, args: [], env: {} };
  const version = versionOf(program);
  if (version !== undefined) {
    return { command: [program.command, ...program.args], env: program.env, version };
  }
  if (file === undefined) return undefined;
  throw new Error(`${file} is no QEMU`);
}

/** What query-migrate tells, as far as it is used; raw runs keep all of it. */
export interface QemuFigures {
  status: string;
  "total-time": number;
  downtime: number;
  ram: { transferred: number };
}

interface Message {
  return?: unknown;
  error?: { desc: string };
  event?: string;
  data?: { status?: string };
}

/** A promise with a time limit. */
function within<T>(promise: Promise<T>, milliseconds: number, what: string): Promise<T> {
  const late = Promise.withResolvers<never>();
  const fail = (): void => late.reject(new Error(`QEMU took too long: ${what}`));
  const timer = setTimeout(fail, milliseconds);
  return Promise.race([promise, late.promise]).finally(() => clearTimeout(timer));
}

/** One QEMU process. */
export class Qemu {
  readonly #child: ReturnType<typeof spawnChild>;
  readonly #messages: Message[] = [];
  readonly #closed: Promise<void>;
  #wake: () => void = () => {};
  #failure: Error | undefined;

  constructor(program: QemuProgram, args: readonly string[]) {
    const machine = ["-machine", "q35", "-accel", "tcg", "-S"];
    const nothing = ["-nodefaults", "-display", "none", "-serial", "none", "-qmp", "stdio"];
    const command = [...program.command, ...machine, ...nothing, ...args];
    this.#child = spawnChild(command, "pipe", program.env);
    let complaint = "";
    this.#child.stderr!.on("data", (chunk) => complaint += chunk);
    this.#child.stdin!.on("error", () => {});
    createInterface({ input: this.#child.stdout! }).on("line", (line) => {
      this.#messages.push(JSON.parse(line) as Message);
      this.#wake();
    });
    this.#closed = new Promise((resolve) => {
      const end = (why: unknown): void => {
        this.#failure = new Error(`QEMU ended (${why}): ${complaint.trim()}`);
        this.#wake();
        resolve();
      };
      this.#child.on("error", end);
      this.#child.on("close", end);
    });
  }

  /** The first message, as of now or later, that is wanted. */
  async #take(isWanted: (message: Message) => boolean): Promise<Message> {
    for (;;) {
      const at = this.#messages.findIndex(isWanted);
      if (at >= 0) return this.#messages.splice(at, 1)[0]!;
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  /** Runs a command of the monitor. */
  async execute<T>(command: string, args: Record<string, unknown> = {}): Promise<T> {
    this.#child.stdin!.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    const isAnswer = (message: Message): boolean => "return" in message || "error" in message;
    const answer = await within(this.#take(isAnswer), ANSWER_MS, command);
    if (answer.error !== undefined) throw new Error(`QEMU, ${command}: ${answer.error.desc}`);
    return answer.return as T;
  }

  /** Whether it knows a method; asked before {@linkcode configure}. */
  async knows(method: string): Promise<boolean> {
    await this.execute("qmp_capabilities");
    const parameters = { "multifd-compression": method };
    return await this.execute("migrate-set-parameters", parameters).then(() => true, () => false);
  }

  /** Sets migration up. */
  async configure(method: string, channels: number): Promise<void> {
    await this.execute("qmp_capabilities");
    const capabilities = ["multifd", "events", "return-path"]
      .map((capability) => ({ capability, state: true }));
    await this.execute("migrate-set-capabilities", { capabilities });
    await this.execute("migrate-set-parameters", {
      "multifd-channels": channels,
      "max-bandwidth": NO_LIMIT,
      "multifd-compression": method,
      ...(hasLevels(method) ? { [`multifd-${method}-level`]: 1 } : {}),
    });
  }

  /** Waits for a migration; returns its port. */
  async listen(): Promise<string> {
    await this.execute("migrate-incoming", { uri: "tcp:127.0.0.1:0" });
    const { "socket-address": addresses } = await this.execute<
      { "socket-address": { port: string }[] }
    >("query-migrate");
    return addresses[0]!.port;
  }

  /** Waits until a migration is over, told by an event: asking again and again costs it time. */
  async completed(): Promise<QemuFigures> {
    const isOver = ({ event, data }: Message): boolean =>
      event === "MIGRATION" && (data?.status === "completed" || data?.status === "failed");
    await within(this.#take(isOver), MIGRATION_MS, "the migration");
    const figures = await this.execute<QemuFigures>("query-migrate");
    if (figures.status === "completed") return figures;
    throw new Error(`QEMU, migration failed: ${JSON.stringify(figures)}`);
  }

  /** CPU seconds so far, user and system, of all threads that are or were, to 1/100 s. */
  cpuSeconds(): number {
    const [user, system] = statFields(this.#child.pid!).slice(11, 13).map(Number);
    return (user! + system!) / TICKS;
  }

  /** Ends the process. */
  async quit(): Promise<void> {
    this.#child.kill();
    await within(this.#closed, ANSWER_MS, "the end");
  }
}

function guest(bytes: number): string[] {
  return ["-m", `${bytes}b`, "-machine", `memory-backend=${BLOCK}`];
}

/** A guest whose RAM is an image; in memory of its own from the start, as a real guest's is. */
export function sourceArgs(image: string): string[] {
  const bytes = fs.statSync(image).size;
  const backend = `memory-backend-file,id=${BLOCK},size=${bytes},mem-path=${image}`;
  return [...guest(bytes), "-object", `${backend},share=off,prealloc=on`];
}

/**
 * A guest that waits for a migration, its RAM a new file or memory. A file on tmpfs costs QEMU
 * less than memory, whose huge pages the kernel must first put together.
 */
export function destinationArgs(bytes: number, file?: string): string[] {
  const backend = file === undefined
    ? `memory-backend-ram,id=${BLOCK},size=${bytes}`
    : `memory-backend-file,id=${BLOCK},size=${bytes},mem-path=${file},share=on`;
  return [...guest(bytes), "-object", backend, "-incoming", "defer"];
}

/** Which of some methods a QEMU knows: asked, not looked up. */
export async function methodsOf(
  program: QemuProgram,
  methods: readonly string[],
): Promise<string[]> {
  const known: string[] = [];
  for (const method of methods) {
    const qemu = new Qemu(program, ["-m", "64M"]);
    try {
      if (await qemu.knows(method)) known.push(method);
    } finally {
      await qemu.quit();
    }
  }
  return known;
}
