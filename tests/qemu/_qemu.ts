/**
 * A QEMU of its own, told what to do over QMP on its stdin and stdout: by these few lines instead
 * of `src/qemu/`, which is tested here.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { type QemuCommand, qemuCommand, type Version } from "./fetch.ts";
import { until, within } from "./_wait.ts";

/** How a QEMU is started. */
export interface QemuOptions {
  version: Version;
  /** How it is run, if it is not the one that was fetched. */
  program?: QemuCommand;
  /** Machine type; q35 of its version if undefined. */
  machine?: string;
  /** Whether it waits for a migration. */
  incoming?: boolean;
  /** More arguments, e.g. `-uuid`. */
  args?: string[];
}

/** What a migration is configured with, on either side. */
export interface MigrationOptions {
  method?: string;
  channels?: number;
  /** Parameters as QMP names them. */
  parameters?: Record<string, unknown>;
  /** Capabilities as QMP names them. */
  capabilities?: Record<string, boolean>;
}

/** What query-migrate says, as far as tests ask. */
export interface QemuMigration {
  status?: string;
  "error-desc"?: string;
  /** Where an incoming one listens. */
  "socket-address"?: { host?: string; port?: string; path?: string }[];
  ram?: Record<string, number>;
}

const MEBIBYTE = 2 ** 20;

/** Parameters with which a migration does not end: so few bytes a second. */
export const SLOWLY = { "max-bandwidth": MEBIBYTE };

interface QmpMessage {
  id?: number;
  return?: unknown;
  error?: { class: string; desc: string };
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** A QEMU with 32 MiB of RAM, a VGA card and the guest's disk, which nobody writes to. */
export class Qemu {
  /** Which it is. */
  readonly version: Version;
  /** A second monitor, for others. */
  readonly qmpSocket: string;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #console: string;
  readonly #waiting = new Map<number, Waiting>();
  readonly #closed: Promise<void>;
  #stderr = "";
  #hasEnded = false;
  #lastId = 0;

  constructor(directory: string, guest: string, options: QemuOptions) {
    this.version = options.version;
    this.#console = path.join(directory, "console.txt");
    this.qmpSocket = path.join(directory, "qmp.sock");
    const machine = options.machine ?? `pc-q35-${options.version}`;
    const { command, args, env } = options.program ?? qemuCommand(options.version);
    this.#child = spawn(command, [
      ...args,
      ...["-machine", machine, "-accel", "tcg", "-m", "32", "-no-reboot"],
      ...["-nodefaults", "-display", "none", "-device", "VGA,vgamem_mb=2"],
      ...["-drive", `if=none,id=boot,file=${guest},format=raw,readonly=on`],
      ...["-device", "virtio-blk-pci,drive=boot", "-debugcon", `file:${this.#console}`],
      ...["-qmp", "stdio", "-qmp", `unix:${this.qmpSocket},server=on,wait=off`],
      ...(options.incoming ? ["-incoming", "defer"] : []),
      ...(options.args ?? []),
    ], { env });
    createInterface({ input: this.#child.stdout }).on("line", (line) => this.#onLine(line));
    this.#child.stderr.setEncoding("utf8").on("data", (text: string) => this.#stderr += text);
    this.#closed = new Promise((resolve) => {
      this.#child.on("error", (error) => this.#stderr += error.message);
      this.#child.on("close", () => {
        this.#hasEnded = true;
        for (const { reject } of this.#waiting.values()) reject(this.#gone());
        this.#waiting.clear();
        resolve();
      });
    });
    // a command to a QEMU that is gone: its answer says so
    this.#child.stdin.on("error", () => {});
    this.execute("qmp_capabilities").catch(() => {});
  }

  #gone(): Error {
    return new Error(`QEMU ended by itself: ${this.#stderr.trim()}`);
  }

  #onLine(line: string): void {
    const message: QmpMessage = JSON.parse(line);
    const waiting = this.#waiting.get(message.id ?? 0);
    if (waiting === undefined) return;
    this.#waiting.delete(message.id!);
    if (message.error) waiting.reject(new Error(message.error.desc));
    else waiting.resolve(message.return);
  }

  /** Runs a QMP command. */
  execute<T>(command: string, args: Record<string, unknown> = {}): Promise<T> {
    if (this.#hasEnded) return Promise.reject(this.#gone());
    const id = ++this.#lastId;
    const answer = new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.#child.stdin.write(JSON.stringify({ execute: command, arguments: args, id }) + "\n");
    });
    return within(`QEMU answers ${command}`, answer);
  }

  /** Sets multifd up, after which a migration may start or arrive. */
  async configure(options: MigrationOptions): Promise<void> {
    const capabilities = { multifd: true, "return-path": true, ...options.capabilities };
    await this.execute("migrate-set-capabilities", {
      capabilities: Object.entries(capabilities).map(([capability, state]) => ({
        capability,
        state,
      })),
    });
    await this.execute("migrate-set-parameters", {
      "multifd-channels": options.channels ?? 2,
      "multifd-compression": options.method ?? "none",
      "max-bandwidth": 0,
      ...options.parameters,
    });
  }

  /** Starts a migration, once it has cleared up after an earlier one: till then it refuses. */
  async migrate(uri: string, asChannels = false): Promise<void> {
    const start = (): Promise<boolean> =>
      this.execute("migrate", addressArguments(uri, asChannels)).then(() => true, (error) => {
        if (error.message === "duplicate yank instance") return false;
        throw error;
      });
    await until("QEMU has cleared up", start);
  }

  /** Waits for a migration at an address, by default at any port; where that is. */
  async listen(uri = "tcp:127.0.0.1:0", asChannels = false): Promise<string> {
    await this.execute("migrate-incoming", addressArguments(uri, asChannels));
    const [bound] = (await this.migration())["socket-address"] ?? [];
    return bound?.path ? `unix:${bound.path}` : `${bound?.host}:${bound?.port}`;
  }

  /** Waits until it has taken so many connections more than it has now. */
  async accepts(connections: number): Promise<void> {
    const enough = this.#countSockets() + connections;
    await until("QEMU accepts connections", () => this.#countSockets() >= enough);
  }

  #countSockets(): number {
    const folder = `/proc/${this.#child.pid}/fd`;
    return fs.readdirSync(folder).filter((fd) => {
      const file = fs.statSync(path.join(folder, fd), { throwIfNoEntry: false });
      return file?.isSocket();
    }).length;
  }

  /** Waits until a migration has moved some pages. */
  async moves(): Promise<void> {
    await until("pages move", async () => {
      const { ram } = await this.migration();
      return (ram?.["transferred"] ?? 0) > MEBIBYTE / 2;
    });
  }

  /** Waits for a migration's end, of either side; its status. */
  async migrated(): Promise<string> {
    let status = "";
    await until("QEMU's migration ends", async () => {
      status = (await this.migration()).status ?? "none";
      return ["completed", "failed", "cancelled"].includes(status);
    });
    return status;
  }

  /** What query-migrate says. */
  migration(): Promise<QemuMigration> {
    return this.execute("query-migrate");
  }

  /** What query-status says: `running`, `paused`, `postmigrate`... */
  async state(): Promise<string> {
    return (await this.execute<{ status: string }>("query-status")).status;
  }

  /** What its guest has printed. */
  get console(): string {
    return fs.existsSync(this.#console) ? fs.readFileSync(this.#console, "latin1") : "";
  }

  /** Waits for its guest to go on: several rounds from now. */
  async guestGoesOn(): Promise<void> {
    const countRounds = (): number => this.console.split("\n").length;
    const enough = countRounds() + 3;
    await until("the guest goes on", () => countRounds() >= enough || this.#hasEnded);
    if (this.#hasEnded) throw this.#gone();
  }

  /** Hash of the guest's memory from some address on, which QEMU itself reads; it is paused. */
  async memoryHash(file: string): Promise<string> {
    await this.execute("pmemsave", { val: MEBIBYTE, size: 31 * MEBIBYTE, filename: file });
    const bytes = fs.readFileSync(file);
    fs.rmSync(file);
    return createHash("sha256").update(bytes).digest("hex");
  }

  /** Ends it, whatever it does. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#closed;
  }
}

/** An address as QEMU takes it: as a URI, or since 8.2 as a list of channels. */
function addressArguments(uri: string, asChannels: boolean): Record<string, unknown> {
  if (!asChannels) return { uri };
  const [type, ...rest] = uri.split(":");
  const socket = type === "unix"
    ? { type, path: rest.join(":") }
    : { type: "inet", host: rest[0], port: rest[1] };
  return { channels: [{ "channel-type": "main", addr: { transport: "socket", ...socket } }] };
}
