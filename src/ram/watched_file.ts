/** A file that RAM is read from, and watched for change meanwhile. */
import fs from "node:fs";
import path from "node:path";
import { ImageError } from "../errors.ts";
import { imageError, readWhole } from "./files.ts";

/** A file, opened once and read only. */
export class WatchedFile {
  /** Its absolute path. */
  readonly path: string;
  readonly #fd: number;
  readonly #stat: fs.BigIntStats;

  /**
   * @param file Its path.
   * @throws {ImageError} If it cannot be opened or is no regular file.
   */
  constructor(file: string) {
    this.path = path.resolve(file);
    try {
      this.#fd = fs.openSync(file, "r");
    } catch (error) {
      throw imageError("Cannot open", file, error);
    }
    this.#stat = fs.fstatSync(this.#fd, { bigint: true });
    if (this.#stat.isFile()) return;
    this.close();
    throw new ImageError(`Cannot read ${file}: it is no regular file`);
  }

  /** Its descriptor, for reading. */
  get descriptor(): number {
    return this.#fd;
  }

  /** Its length in bytes when it was opened. */
  get size(): number {
    return Number(this.#stat.size);
  }

  /**
   * Reads bytes.
   *
   * @param offset Where they are in the file.
   * @param into Filled as far as the file goes.
   * @returns How many there were.
   * @throws {ImageError} If they cannot be read.
   */
  read(offset: number, into: Uint8Array): number {
    try {
      return readWhole(this.#fd, into, offset);
    } catch (error) {
      throw imageError("Cannot read", this.path, error);
    }
  }

  /**
   * Reads pages of a block.
   *
   * @param block The block's name, for messages.
   * @param start Where it starts in the file, in bytes.
   * @param offset Byte offset of the pages in it.
   * @param into Filled whole.
   * @throws {ImageError} If they cannot be read or are not there any more.
   */
  readPages(block: string, start: number, offset: number, into: Uint8Array): void {
    let read: number;
    try {
      read = this.read(start + offset, into);
    } catch (error) {
      throw (error as ImageError).locate({ block, offset });
    }
    if (read === into.length) return;
    throw new ImageError(`Image ${this.path} was truncated while it was read`, {
      block,
      offset: offset + read,
    });
  }

  /**
   * Compares size and times with those it had when it was opened.
   *
   * @throws {ImageError} If they differ.
   */
  verifyUnchanged(): void {
    const before = this.#stat;
    const now = fs.fstatSync(this.#fd, { bigint: true });
    if (now.size === before.size && now.mtimeNs === before.mtimeNs) return;
    throw new ImageError(`Image ${this.path} changed while it was read`, {
      expected: `${before.size} bytes of ${new Date(Number(before.mtimeMs)).toISOString()}`,
      received: `${now.size} bytes of ${new Date(Number(now.mtimeMs)).toISOString()}`,
    });
  }

  /** Closes it. */
  close(): void {
    fs.closeSync(this.#fd);
  }
}
