/**
 * A QEMU that is a script: QMP as QEMU 10.0 speaks it, and migrations by this project's own
 * sender and receiver.
 */
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { MemoryImage, receive, send } from "../../mod.ts";
import { sharedPages, temporaryDirectory } from "../migration/_migrate.ts";

type Json = Record<string, unknown>;

/** What a command is answered with; `undefined` is silence. */
export type Answer =
  | { return: unknown }
  | { error: { class: string; desc: string } }
  | undefined;

/** What a test puts in the place of a command's usual answer. */
export type Handler = (args: Json, usual: () => Answer | Promise<Answer>) =>
  | Answer
  | Promise<Answer>;

/** Capabilities of QEMU 10.0, and `compress` and `block` of earlier ones; all off. */
const CAPABILITIES = [
  "xbzrle",
  "rdma-pin-all",
  "auto-converge",
  "zero-blocks",
  "compress",
  "events",
  "postcopy-ram",
  "x-colo",
  "release-ram",
  "block",
  "return-path",
  "pause-before-switchover",
  "multifd",
  "dirty-bitmaps",
  "late-block-activate",
  "x-ignore-shared",
  "validate-uuid",
  "background-snapshot",
  "zero-copy-send",
  "postcopy-preempt",
  "switchover-ack",
  "dirty-limit",
  "mapped-ram",
];

/** The parameters that matter here, with QEMU's defaults. */
const PARAMETERS: Json = {
  mode: "normal",
  "multifd-channels": 2,
  "multifd-compression": "none",
  "multifd-zlib-level": 1,
  "multifd-zstd-level": 1,
  "max-bandwidth": 134217728,
  "zero-page-detection": "multifd",
  "tls-creds": "",
};

/** QEMU's own words. */
export function refusal(desc: string): Answer {
  return { error: { class: "GenericError", desc } };
}

/** A QEMU that is a script. */
export class FakeQemu {
  /** Its QMP socket. */
  readonly socket: string = path.join(temporaryDirectory(), "qmp.sock");
  /** Every command that came, in order. */
  readonly commands: [name: string, args: Json][] = [];
  /** Answers in the place of the usual ones. */
  readonly handlers = new Map<string, Handler>();
  /** Capabilities. */
  readonly capabilities = new Map<string, boolean>();
  /** Parameters. */
  parameters: Json = { ...PARAMETERS };
  /** Compression methods it was built with. */
  methods: string[] = ["none", "zlib", "zstd"];
  /** What its greeting says. */
  version: { qemu: Json; package: string } = {
    qemu: { major: 10, minor: 0, micro: 2 },
    package: "",
  };
  /** Machine type. */
  machine = "pc-q35-10.0";
  /** The guest's uuid. */
  uuid = "00000000-0000-0000-0000-000000000000";
  /** State of its guest. */
  guest = "running";
  /** What `query-migrate` says. */
  migration: Json = {};
  /** The guest's RAM: what is sent, or what was received. */
  image: MemoryImage = new MemoryImage({ "pc.ram": sharedPages(300, 4096, 5) });
  /** The migration that runs. */
  running: Promise<void> | undefined;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  #cancel = new AbortController();
  #stateBefore = "";

  private constructor() {
    this.#server = net.createServer((socket) => {
      // a client that goes away while it is read from is no news
      this.#serve(socket).catch(() => {});
    });
    for (const name of CAPABILITIES) this.capabilities.set(name, false);
  }

  /** Starts one. */
  static async start(change: (qemu: FakeQemu) => void = () => {}): Promise<FakeQemu> {
    const qemu = new FakeQemu();
    change(qemu);
    qemu.#server.listen(qemu.socket);
    await once(qemu.#server, "listening");
    return qemu;
  }

  /** A QEMU that was started with `-incoming defer`. */
  static async startIncoming(change: (qemu: FakeQemu) => void = () => {}): Promise<FakeQemu> {
    return await FakeQemu.start((qemu) => {
      qemu.guest = "inmigrate";
      qemu.image = new MemoryImage();
      change(qemu);
    });
  }

  /** The names of the commands that came, without questions. */
  get changes(): string[] {
    return this.commands.map(([name]) => name)
      .filter((name) => !/^(query-|qom-get|qmp_cap)/.test(name));
  }

  /** Capabilities that are on, and parameters. */
  get settings(): { on: string[]; parameters: Json } {
    const on = [...this.capabilities].filter(([, state]) => state).map(([name]) => name);
    return { on, parameters: this.parameters };
  }

  /** Drops every QMP connection, as a QEMU that ends does. */
  drop(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Says that something happened. */
  event(name: string, data: Json = {}): void {
    const line = JSON.stringify({ event: name, data, timestamp: { seconds: 1, microseconds: 2 } });
    for (const socket of this.#sockets) socket.write(`${line}\r\n`);
  }

  /** Ends it, and its migration. */
  async stop(): Promise<void> {
    this.#cancel.abort();
    this.drop();
    this.#server.close();
    await this.running;
    fs.rmSync(path.dirname(this.socket), { recursive: true, force: true });
  }

  async #serve(socket: net.Socket): Promise<void> {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.#sockets.delete(socket));
    socket.write(`${JSON.stringify({ QMP: { version: this.version, capabilities: [] } })}\r\n`);
    let text = "";
    for await (const chunk of socket.setEncoding("utf8")) {
      text += chunk;
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
        const line = text.slice(0, end);
        text = text.slice(end + 1);
        const { execute, arguments: args, id } = JSON.parse(line);
        const answer = await this.#answer(execute, args ?? {});
        // an event may come at any time
        this.event("MIGRATION_PASS", { pass: this.commands.length });
        if (answer !== undefined) socket.write(`${JSON.stringify({ ...answer, id })}\r\n`);
      }
    }
  }

  #answer(name: string, args: Json): Answer | Promise<Answer> {
    this.commands.push([name, args]);
    const usual = (): Answer | Promise<Answer> => this.#usual(name, args);
    const handler = this.handlers.get(name);
    return handler === undefined ? usual() : handler(args, usual);
  }

  #usual(name: string, args: Json): Answer | Promise<Answer> {
    switch (name) {
      case "qmp_capabilities":
        return { return: {} };
      case "query-status":
        return { return: { status: this.guest, running: this.guest === "running" } };
      case "query-migrate":
        return { return: this.migration };
      case "query-migrate-capabilities":
        return {
          return: [...this.capabilities].map(([capability, state]) => ({ capability, state })),
        };
      case "query-migrate-parameters":
        return { return: this.parameters };
      case "query-qmp-schema":
        return { return: this.#schema() };
      case "migrate-set-capabilities":
        return this.#setCapabilities(args.capabilities as { capability: string; state: boolean }[]);
      case "migrate-set-parameters":
        return this.#setParameters(args);
      case "migrate":
        return this.#migrate(String(args.uri));
      case "migrate_cancel":
        if (this.migration.status === "active") this.migration = { status: "cancelling" };
        this.#cancel.abort();
        return { return: {} };
      case "cont":
        this.guest = "running";
        return { return: {} };
      case "qom-get":
        return { return: `${this.machine}-machine` };
      case "query-memory-size-summary":
        return { return: { "base-memory": 300 * 4096, "plugged-memory": 0 } };
      case "query-uuid":
        return { return: { UUID: this.uuid } };
      case "migrate-incoming":
        return this.#migrateIncoming(String(args.uri));
      default:
        return {
          error: { class: "CommandNotFound", desc: `The command ${name} has not been found` },
        };
    }
  }

  #schema(): Json[] {
    return [
      { name: "migrate-set-parameters", "meta-type": "command", "arg-type": "7" },
      {
        name: "7",
        members: [{ name: "announce-max", type: "int" }, {
          name: "multifd-compression",
          type: "8",
        }],
      },
      { name: "8", "meta-type": "enum", values: this.methods },
    ];
  }

  #isMigrating(): boolean {
    return this.migration.status === "active";
  }

  #setCapabilities(list: { capability: string; state: boolean }[]): Answer {
    if (this.#isMigrating()) return refusal("There's a migration process in progress");
    for (const { capability, state } of list) this.capabilities.set(capability, state);
    return { return: {} };
  }

  #setParameters(args: Json): Answer {
    const method = args["multifd-compression"];
    if (method !== undefined && !this.methods.includes(String(method))) {
      return refusal(`Parameter 'multifd-compression' does not accept value '${method}'`);
    }
    this.parameters = { ...this.parameters, ...args };
    return { return: {} };
  }

  #migrate(uri: string): Answer {
    if (!this.capabilities.get("multifd")) return refusal("this QEMU only knows multifd");
    this.#stateBefore = this.guest;
    this.#cancel = new AbortController();
    this.migration = { status: "active", ram: { remaining: 300 * 4096 } };
    this.running = send({
      image: this.image,
      to: uri,
      machine: this.machine,
      method: String(this.parameters["multifd-compression"]),
      channels: Number(this.parameters["multifd-channels"]),
      transport: "runtime",
      engine: "builtin",
      timeout: 10_000,
      signal: this.#cancel.signal,
    }).then(
      (info) => this.complete({ "total-time": Math.round(info.totalTime), downtime: 3 }),
      (error: Error) => this.fail(error.message),
    );
    return { return: {} };
  }

  /** Its migration is over. */
  complete(figures: Json = {}): void {
    this.migration = { status: "completed", ...figures };
    this.guest = "postmigrate";
  }

  /** Its migration has failed; the guest goes on. */
  fail(desc: string): void {
    const status = this.migration.status === "cancelling" ? "cancelled" : "failed";
    this.migration = { status, "error-desc": desc };
    this.guest = this.#stateBefore || this.guest;
  }

  async #migrateIncoming(uri: string): Promise<Answer> {
    if (!this.capabilities.get("multifd")) return refusal("this QEMU only knows multifd");
    const listening = Promise.withResolvers<string>();
    this.running = receive({
      listen: uri,
      into: this.image,
      channels: Number(this.parameters["multifd-channels"]),
      transport: "runtime",
      engine: "builtin",
      timeout: 10_000,
      signal: this.#cancel.signal,
      onEvent: (event) => event.type === "listening" && listening.resolve(event.address),
    }).then(() => {
      this.migration = { status: "completed" };
      this.guest = "running";
    }, (error: Error) => {
      this.migration = { status: "failed", "error-desc": error.message };
    });
    const port = (await listening.promise).split(":").at(-1);
    this.migration = {
      status: "setup",
      "socket-address": [{ type: "inet", host: "127.0.0.1", port }],
    };
    return { return: {} };
  }
}
