/** QEMUs and the `multifd` command in one directory, which is gone after the test, as they are. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { type Running, type Runtime, start } from "../cli/_command.ts";
import { temporaryDirectory } from "../migration/_migrate.ts";
import { builtQemu } from "./build.ts";
import { type QemuCommand, qemuCommand, type Version, versionOf, VERSIONS } from "./fetch.ts";
import { buildGuest } from "./_guest.ts";
import { type MigrationOptions, Qemu, type QemuOptions } from "./_qemu.ts";
import { within } from "./_wait.ts";

/** A RAM block, as `--json` tells it. */
export interface Block {
  name: string;
  "used-length": number;
  sha256: string;
}

/** A result of the command. */
// deno-lint-ignore no-explicit-any
export type Json = any;

/** How a VM is moved. */
export interface TransferOptions extends MigrationOptions {
  /** More arguments for the command. */
  args?: string[];
  /** Where a QEMU waits, if it is not any port of 127.0.0.1. */
  uri?: string;
  /** Whether QEMU is told the address in its newer form. */
  asChannels?: boolean;
}

/** A receiver that listens. */
export interface Receiver {
  running: Running;
  /** Where, as QEMU writes it. */
  uri: string;
}

/** The environment variable that tells why no QEMU could be fetched. */
export const WHY_NOT = "MULTIFD_TEST_NO_QEMU";

/** How long the command waits while nothing moves, in seconds: less than the tests do. */
const TIMEOUT = ["--timeout", "20"];

/** Where a test's processes live. */
export class Lab {
  /** Where its files are. */
  readonly directory: string = temporaryDirectory();
  readonly #guest: string;
  readonly #qemus: Qemu[] = [];
  readonly #commands: Running[] = [];

  constructor() {
    this.#guest = path.join(this.directory, "guest.img");
    buildGuest(this.#guest);
  }

  /** A name in the directory. */
  path(name: string): string {
    return path.join(this.directory, name);
  }

  /** Names in the directory that start like this. */
  files(start: string): string[] {
    return fs.readdirSync(this.directory).filter((name) => name.startsWith(start));
  }

  /** Starts a QEMU; its guest runs at once, unless it waits for a migration. */
  qemu(options: QemuOptions): Qemu {
    const directory = this.path(`qemu${this.#qemus.length}`);
    fs.mkdirSync(directory);
    const qemu = new Qemu(directory, this.#guest, options);
    this.#qemus.push(qemu);
    return qemu;
  }

  /** Starts a QEMU with a guest that runs and has checked its memory. */
  async running(options: QemuOptions): Promise<Qemu> {
    const qemu = this.qemu(options);
    await qemu.guestGoesOn();
    return qemu;
  }

  /** Starts a QEMU that waits until it is told where a migration comes from. */
  async waiting(options: QemuOptions): Promise<Qemu> {
    const qemu = this.qemu({ ...options, incoming: true });
    // its monitors are there once one of them answers
    await qemu.state();
    return qemu;
  }

  /** Starts the command. */
  multifd(runtime: Runtime, ...args: string[]): Running {
    const running = start(runtime, args);
    this.#commands.push(running);
    return running;
  }

  /** Runs the command to its end, which is to be this one; its JSON, and what it said. */
  async run(
    runtime: Runtime,
    exitCode: number,
    ...args: string[]
  ): Promise<{ result: Json; stderr: string }> {
    const { outcome } = this.multifd(runtime, ...args, "--json", ...TIMEOUT);
    const { code, stdout, stderr } = await within(`multifd ${args[0]} ends`, outcome);
    assertEquals(code, exitCode, stderr);
    return { result: JSON.parse(stdout), stderr };
  }

  /** Starts a receiver. */
  async recv(runtime: Runtime, ...args: string[]): Promise<Receiver> {
    const running = this.multifd(runtime, "recv", "--json", ...TIMEOUT, ...args);
    const address = await within("recv listens", running.line(/^listening on (.*)$/));
    if (address === undefined) throw new Error((await running.outcome).stderr);
    return { running, uri: address.startsWith("unix:") ? address : `tcp:${address}` };
  }

  /** Takes a QEMU's VM into a directory; the blocks of it. */
  async save(
    qemu: Qemu,
    out: string,
    runtime: Runtime,
    options: TransferOptions,
  ): Promise<Block[]> {
    const recv = await this.recv(runtime, "--out", this.path(out), ...options.args ?? []);
    await qemu.configure(options);
    await qemu.migrate(recv.uri, options.asChannels);
    const { code, stdout, stderr } = await within("recv ends", recv.running.outcome);
    assertEquals(code, 0, stderr);
    assertEquals(await qemu.migrated(), "completed");
    return JSON.parse(stdout).blocks;
  }

  /** Starts a QEMU from a directory. */
  async restore(
    image: string,
    runtime: Runtime,
    qemuOptions: QemuOptions,
    options: TransferOptions,
  ): Promise<Qemu> {
    const { qemu, address } = await this.incoming(qemuOptions, options);
    const send = this.send(image, runtime, address, sendArgs(qemuOptions.version, options));
    const { code, stderr } = await within("send ends", send.outcome);
    assertEquals(code, 0, stderr);
    assertEquals(await qemu.migrated(), "completed");
    return qemu;
  }

  /** Starts a QEMU that waits for a migration, and tells where it waits. */
  async incoming(
    qemuOptions: QemuOptions,
    options: TransferOptions,
  ): Promise<{ qemu: Qemu; address: string }> {
    const qemu = await this.waiting(qemuOptions);
    await qemu.configure(options);
    return { qemu, address: await qemu.listen(options.uri, options.asChannels) };
  }

  /** Starts to send a directory. */
  send(image: string, runtime: Runtime, to: string, args: string[]): Running {
    const where = [this.path(image), "--to", to];
    return this.multifd(runtime, "send", ...where, "--json", ...TIMEOUT, ...args);
  }

  /** Ends every process and removes the directory. */
  async close(): Promise<void> {
    for (const { child } of this.#commands) child.kill("SIGKILL");
    await Promise.all(this.#commands.map(({ outcome }) => outcome));
    await Promise.all(this.#qemus.map((qemu) => qemu.kill()));
    fs.rmSync(this.directory, { recursive: true });
  }
}

/** How `multifd send` is told what a QEMU is configured with. */
export function sendArgs(version: Version, options: TransferOptions): string[] {
  const sync = version === "7.2" ? "section" : "round";
  const wire = ["--method", options.method ?? "none", "--channels", `${options.channels ?? 2}`];
  return ["--sync", sync, ...wire, ...options.args ?? []];
}

/** A QEMU, and the methods that it is tested with. */
export interface Subject {
  qemu: QemuOptions;
  methods: string[];
}

const built = builtQemu();

/** The QEMUs that there are; the one that has the methods of others only where it was built. */
export const SUBJECTS: Subject[] = [
  ...VERSIONS.map((version) => ({ qemu: { version }, methods: ["none", "zlib", "zstd"] })),
  ...built === undefined
    ? []
    : [{ qemu: { version: "10.0", program: built } as const, methods: ["qpl", "uadk", "qatzip"] }],
];

const versions = new Map<string, string | undefined>();

/** What a QEMU says it is, asked once. */
function knownVersion(program: QemuCommand): string | undefined {
  if (!versions.has(program.command)) versions.set(program.command, versionOf(program));
  return versions.get(program.command);
}

/**
 * A test with QEMUs of a version; skipped where that was not fetched.
 *
 * @param program What is run instead of the one that was fetched.
 */
export function qemuTest(
  version: Version,
  name: string,
  run: (lab: Lab) => Promise<void>,
  program: QemuCommand = qemuCommand(version),
): void {
  const found = knownVersion(program);
  const skip = found === undefined
    ? process.env[WHY_NOT] ?? `no QEMU ${version}: deno task test:qemu fetches it`
    : false;
  test(`QEMU ${found ?? version}: ${name}`, { skip }, async () => {
    const lab = new Lab();
    try {
      await run(lab);
    } finally {
      await lab.close();
    }
  });
}

/** Hash of a received image's memory, of as much as {@linkcode Qemu.memoryHash} takes. */
export function imageHash(image: string): string {
  const ram = fs.readFileSync(path.join(image, "pc.ram"));
  return createHash("sha256").update(ram.subarray(2 ** 20)).digest("hex");
}
