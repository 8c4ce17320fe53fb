/**
 * Recordings: every connection's bytes in a file, `main.bin` and `ch<n>.bin`.
 * Made while a migration is received, and played back as connections.
 */
import fs from "node:fs";
import path from "node:path";
import { ImageError, PeerClosedError } from "../errors.ts";
import type { MaybePromise } from "../maybe_promise.ts";
import type { Connection } from "./connection.ts";

/** Bytes read from a file at once. */
const PIECE = 256 * 1024;

/** A connection that also goes into a file, from its first byte on. */
export class RecordedConnection implements Connection {
  readonly #inner: Connection;
  readonly #directory: string;
  #early: Uint8Array[] | undefined = [];
  #fd: number | undefined;

  /**
   * @param inner The connection.
   * @param directory Where its file goes once it has a name.
   */
  constructor(inner: Connection, directory: string) {
    this.#inner = inner;
    this.#directory = directory;
  }

  /** Names the file; what was read before goes into it first. */
  keepAs(file: string): void {
    this.#fd = fs.openSync(path.join(this.#directory, file), "wx");
    for (const bytes of this.#early!) this.#keep(bytes);
    this.#early = undefined;
  }

  #keep(bytes: Uint8Array): void {
    if (this.#fd === undefined) {
      this.#early?.push(bytes.slice());
      return;
    }
    let at = 0;
    while (at < bytes.length) at += fs.writeSync(this.#fd, bytes, at);
  }

  get name(): string {
    return this.#inner.name;
  }

  set name(name: string) {
    this.#inner.name = name;
  }

  get bytesRead(): number {
    return this.#inner.bytesRead;
  }

  get bytesWritten(): number {
    return this.#inner.bytesWritten;
  }

  async read(into: Uint8Array): Promise<number> {
    const read = await this.#inner.read(into);
    this.#keep(into.subarray(0, read));
    return read;
  }

  async readSome(): Promise<Uint8Array | undefined> {
    const bytes = await this.#inner.readSome();
    if (bytes !== undefined) this.#keep(bytes);
    return bytes;
  }

  write(bytes: Uint8Array, more?: Uint8Array): MaybePromise<void> {
    return this.#inner.write(bytes, more);
  }

  end(): void {
    this.#inner.end();
  }

  destroy(error?: Error): void {
    this.#inner.destroy(error);
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = undefined;
  }
}

/** A connection that plays a file; what is written to it goes nowhere. */
export class PlayedConnection implements Connection {
  name: string;
  bytesRead = 0;
  bytesWritten = 0;
  #fd: number | undefined;
  #error: Error | undefined;

  /** @param file The recorded bytes. */
  constructor(file: string) {
    this.name = path.basename(file);
    this.#fd = fs.openSync(file, "r");
  }

  read(into: Uint8Array): number {
    if (this.#error !== undefined) throw this.#error;
    let filled = 0;
    while (filled < into.length && this.#fd !== undefined) {
      const read = fs.readSync(this.#fd, into, filled, into.length - filled, null);
      if (read === 0) break;
      filled += read;
    }
    this.bytesRead += filled;
    return filled;
  }

  readSome(): Uint8Array | undefined {
    const bytes = new Uint8Array(PIECE);
    const read = this.read(bytes);
    return read > 0 ? bytes.subarray(0, read) : undefined;
  }

  write(bytes: Uint8Array, more?: Uint8Array): void {
    if (this.#fd === undefined) throw new PeerClosedError("Recording is closed");
    this.bytesWritten += bytes.length + (more?.length ?? 0);
  }

  end(): void {}

  destroy(error?: Error): void {
    this.#error ??= error;
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = undefined;
  }
}

/** Whether a path is a recording. */
export function isRecording(directory: string): boolean {
  return fs.existsSync(path.join(directory, "main.bin"));
}

/** The files of a recording. */
export interface RecordingFiles {
  /** The main channel's. */
  main: string;
  /** The channels', in order of the numbers in their names. */
  channels: { number: number; path: string }[];
}

/**
 * The files of a recording.
 *
 * @throws {ImageError} If there are no channels.
 */
export function recordingFiles(directory: string): RecordingFiles {
  const channels = fs.readdirSync(directory)
    .flatMap((name) => /^ch(\d{1,3})\.bin$/.exec(name)?.[1] ?? [])
    .map((digits) => ({ number: Number(digits), path: path.join(directory, `ch${digits}.bin`) }))
    .sort((a, b) => a.number - b.number);
  if (channels.length === 0) throw new ImageError(`Recording ${directory} has no channels`);
  return { main: path.join(directory, "main.bin"), channels };
}
