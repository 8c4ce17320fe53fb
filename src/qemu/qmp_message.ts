/** QMP's messages: a JSON object per line, from QEMU to us. No I/O here. */
import { ProtocolError } from "../errors.ts";

/** Longest line that is taken, in bytes; QEMU's own schema is the longest, with a quarter of it. */
const MAX_LINE = 4 * 1024 * 1024;
const NEWLINE = 0x0a;

/** A JSON object whose fields are not believed yet. */
export type JsonObject = Record<string, unknown>;

/** A message of QEMU. */
export type QmpMessage =
  | { /** The first line. */ type: "greeting"; version: string }
  | { /** A command succeeded. */ type: "return"; id: unknown; value: unknown }
  | {
    /** A command failed; no id where QEMU could not even parse it. */
    type: "error";
    id: unknown;
    errorClass: string;
    desc: string;
  }
  | { /** Something happened. */ type: "event"; name: string; data: JsonObject };

/** Splits a stream into lines. */
export class LineSplitter {
  #held: Uint8Array[] = [];
  #size = 0;

  /**
   * Takes the next bytes.
   *
   * @returns The lines that are complete now.
   * @throws {ProtocolError} If a line is too long or is no UTF-8.
   */
  push(chunk: Uint8Array): string[] {
    const lines: string[] = [];
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      this.#hold(chunk.subarray(start, end));
      lines.push(this.#take());
      start = end + 1;
    }
    this.#hold(chunk.slice(start));
    return lines;
  }

  #hold(bytes: Uint8Array): void {
    this.#size += bytes.length;
    if (this.#size > MAX_LINE) {
      throw new ProtocolError("QMP line is too long", {
        expected: `at most ${MAX_LINE} bytes`,
        received: this.#size,
      });
    }
    if (bytes.length > 0) this.#held.push(bytes);
  }

  #take(): string {
    const line = new Uint8Array(this.#size);
    let at = 0;
    for (const piece of this.#held) {
      line.set(piece, at);
      at += piece.length;
    }
    this.#held = [];
    this.#size = 0;
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(line);
    } catch (cause) {
      throw new ProtocolError("QMP line is no UTF-8", {}, { cause });
    }
  }
}

/**
 * Reads a line.
 *
 * @throws {ProtocolError} If it is no message of QMP.
 */
export function parseQmpMessage(line: string): QmpMessage {
  const message = parseObject(line);
  if (isObject(message.QMP)) return { type: "greeting", version: versionOf(message.QMP.version) };
  if ("return" in message) return { type: "return", id: message.id, value: message.return };
  if (isObject(message.error)) {
    const { class: errorClass, desc } = message.error;
    return { type: "error", id: message.id, errorClass: String(errorClass), desc: String(desc) };
  }
  if (typeof message.event === "string") {
    const data = isObject(message.data) ? message.data : {};
    return { type: "event", name: message.event, data };
  }
  throw notQmp(line);
}

function parseObject(line: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    // reported below
  }
  if (isObject(value)) return value;
  throw notQmp(line);
}

/** Whatever answers on a port may say anything: show how it starts, without control characters. */
function notQmp(line: string): ProtocolError {
  // deno-lint-ignore no-control-regex
  const start = line.slice(0, 40).replace(/[\x00-\x1f\x7f]/g, "?");
  return new ProtocolError("Peer does not speak QMP", {
    expected: "a greeting, an answer or an event",
    received: JSON.stringify(start),
  });
}

/** `10.0.2 (Debian ...)`, as QEMU's greeting has it. */
function versionOf(version: unknown): string {
  if (!isObject(version) || !isObject(version.qemu)) return "unknown";
  const { major, minor, micro } = version.qemu;
  const pack = typeof version.package === "string" ? version.package.trim() : "";
  return `${major}.${minor}.${micro}${pack === "" ? "" : ` (${pack})`}`;
}

/** Whether a value is a JSON object. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
