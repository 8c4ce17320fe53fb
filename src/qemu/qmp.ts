/**
 * A client of QMP, QEMU's control protocol. npm's qemu-qmp (0.5.0) has no ids, timeouts, bounds
 * or types; this is one file on the connections that are here anyway.
 */
import { PeerClosedError, ProtocolError, QemuError, TimedOutError } from "../errors.ts";
import { type Address, parseAddress } from "../transport/address.ts";
import type { Connection } from "../transport/connection.ts";
import { connect } from "../transport/runtime.ts";
import { addNote } from "./add_note.ts";
import { bounded } from "./bounded.ts";
import { isObject, type JsonObject, LineSplitter, parseQmpMessage } from "./qmp_message.ts";

/** After how long a QEMU that does not greet is told of, in milliseconds; mostly it does at once. */
const TELL_MS = 5000;
/** How long a QEMU that left a command unanswered is waited for again, in milliseconds. */
const SILENT_MS = 1000;

/** How a client waits. */
export interface QmpOptions {
  /** Longest time for an answer, in milliseconds; 0 for none. */
  timeout: number;
  /** Gives up connecting. */
  signal?: AbortSignal | undefined;
  /** Told why connecting takes long. */
  warn?: ((message: string) => void) | undefined;
}

/** How a command waits, where not as the client does. */
export interface CommandOptions {
  /** Longest time for the answer, in milliseconds; 0 for none. */
  timeout?: number | undefined;
  /** Gives up waiting; QEMU may do the command nevertheless. */
  signal?: AbortSignal | undefined;
}

interface Pending {
  command: string;
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
}

/** A connection to a QEMU's monitor. */
export class QmpClient {
  /** QEMU's version and package, from its greeting. */
  version = "";
  readonly #connection: Connection;
  readonly #timeout: number;
  readonly #lines = new LineSplitter();
  readonly #pending = new Map<number, Pending>();
  readonly #greeted = Promise.withResolvers<void>();
  #nextId = 1;
  #isSilent = false;
  #lost: unknown;
  #shutdown = "";

  private constructor(connection: Connection, timeout: number) {
    this.#connection = connection;
    this.#timeout = timeout;
    this.#greeted.promise.catch(() => {});
    this.#read().catch((error) => this.#lose(error));
  }

  /**
   * Connects, and leaves capabilities negotiation.
   *
   * @param address A unix socket's path, `unix:PATH` or `HOST:PORT`.
   * @param options How long to wait.
   * @throws {PeerClosedError} If nobody takes the connection, or it is lost.
   * @throws {ProtocolError} If it is no QMP that answers.
   * @throws {TimedOutError} If nothing greets, e.g. as QEMU serves another client, or still
   *   allocates its guest's memory.
   * @throws {CancelledError} If the signal is aborted.
   */
  static async connect(address: string, options: QmpOptions): Promise<QmpClient> {
    const onTimeout = `QEMU does not greet on ${address}: ` +
      "it serves one QMP client at a time, is another one connected, or is it still starting?";
    const { signal, timeout, warn } = options;
    const timer = setTimeout(() => warn?.(onTimeout), TELL_MS);
    const client = await bounded(async (over) => {
      const connection = await connect(parseQmpAddress(address), "QMP", over);
      over.addEventListener("abort", () => connection.destroy(), { once: true });
      const client = new QmpClient(connection, timeout);
      await client.#greeted.promise;
      return client;
    }, { timeout, onTimeout, signal }).finally(() => clearTimeout(timer));
    try {
      await client.execute("qmp_capabilities", {}, { signal });
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /**
   * Runs a command.
   *
   * @param command Its name.
   * @param args Its arguments.
   * @param options How long to wait.
   * @returns What QEMU returns.
   * @throws {QemuError} If QEMU refuses it; `desc` and `code` are QEMU's.
   * @throws {PeerClosedError} If the connection is lost.
   * @throws {TimedOutError} If there is no answer.
   * @throws {CancelledError} If the signal is aborted.
   */
  async execute(
    command: string,
    args: JsonObject = {},
    options: CommandOptions = {},
  ): Promise<unknown> {
    const id = this.#nextId++;
    const asked = options.timeout ?? this.#timeout;
    const timeout = this.#isSilent ? SILENT_MS : asked;
    try {
      return await bounded(async () => {
        if (this.#lost !== undefined) throw this.#lost;
        const answer = new Promise<unknown>((resolve, reject) => {
          this.#pending.set(id, { command, resolve, reject });
        });
        answer.catch(() => {});
        const line = JSON.stringify({ execute: command, arguments: args, id });
        // what cannot be written the reader tells, and maybe why
        void Promise.resolve(this.#connection.write(new TextEncoder().encode(`${line}\r\n`)))
          .catch(() => {});
        return await answer;
      }, {
        timeout,
        onTimeout: `QEMU did not answer ${command} for ${timeout / 1000} s`,
        signal: options.signal,
      });
    } catch (error) {
      this.#isSilent ||= error instanceof TimedOutError;
      throw error;
    } finally {
      this.#pending.delete(id);
    }
  }

  /** Runs a command that returns an object. */
  async query(
    command: string,
    args: JsonObject = {},
    options: CommandOptions = {},
  ): Promise<JsonObject> {
    const value = await this.execute(command, args, options);
    if (isObject(value)) return value;
    throw new ProtocolError(`QEMU's answer to ${command} is no object`);
  }

  /** Runs a command that returns a list of objects. */
  async queryList(command: string, options: CommandOptions = {}): Promise<JsonObject[]> {
    const value = await this.execute(command, {}, options);
    if (Array.isArray(value) && value.every(isObject)) return value;
    throw new ProtocolError(`QEMU's answer to ${command} is no list of objects`);
  }

  /** Whether the connection was lost. */
  get isLost(): boolean {
    return this.#lost !== undefined;
  }

  /** Drops the connection. */
  close(): void {
    this.#connection.destroy();
  }

  async #read(): Promise<never> {
    for (;;) {
      const chunk = await this.#connection.readSome();
      if (chunk === undefined) throw new PeerClosedError("Peer closed QMP");
      for (const line of this.#lines.push(chunk)) this.#take(line);
    }
  }

  #take(line: string): void {
    this.#isSilent = false;
    const message = parseQmpMessage(line);
    if (message.type === "greeting") {
      this.version = message.version;
      this.#greeted.resolve();
    } else if (message.type === "event") {
      if (message.name === "SHUTDOWN") this.#shutdown = ` after SHUTDOWN (${message.data.reason})`;
    } else {
      // what is not waited for any more answers a command that timed out
      const pending = this.#pending.get(message.id as number);
      if (message.type === "return") return pending?.resolve(message.value);
      const { errorClass: code, desc, id } = message;
      if (id === undefined) throw new ProtocolError(`QEMU understood nothing: ${desc}`, { code });
      const refused = `QEMU refused ${pending?.command}: ${desc}`;
      pending?.reject(new QemuError(refused, { code, desc }));
    }
  }

  #lose(cause: unknown): void {
    const error = cause instanceof PeerClosedError
      ? new PeerClosedError(`QEMU closed its QMP connection${this.#shutdown}`, {}, { cause })
      : cause;
    this.#lost = error;
    this.#connection.destroy();
    this.#greeted.reject(error);
    for (const { command, reject } of this.#pending.values()) {
      reject(addNote(error, `, waiting for its answer to ${command}`));
    }
  }
}

function parseQmpAddress(text: string): Address {
  const isAddress = text.startsWith("unix:") || /^[^/]+:\d+$/.test(text);
  return isAddress ? parseAddress(text) : { path: text };
}
