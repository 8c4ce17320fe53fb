/**
 * A place for an image. What is made there has a name beside its own that says it is
 * partial, and gets its own when it is whole and on disk.
 */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { ImageError } from "../errors.ts";
import { imageError, syncDirectory } from "./files.ts";

/** The two names of a directory or a file in the making. */
export class PartialPath {
  /** Its own name, absolute. */
  readonly path: string;
  /** Its name until it is whole. */
  readonly partial: string;
  #isNamed = false;
  #isDiscarded = false;

  /**
   * Clears away what an earlier run left; makes nothing yet.
   *
   * @param name Its own name.
   */
  constructor(name: string) {
    this.path = path.resolve(name);
    this.partial = `${this.path}.partial-${process.pid}`;
    removeAbandoned(this.path);
  }

  /** Gives it its own name and puts that on disk; its content must be there by now. */
  async publish(): Promise<void> {
    if (this.#isDiscarded) throw new ImageError(`Image ${this.path} was given up`);
    if (fs.statSync(this.partial).isDirectory()) fs.renameSync(this.partial, this.path);
    else renameFile(this.partial, this.path);
    this.#isNamed = true;
    await syncDirectory(path.dirname(this.path));
  }

  /**
   * Removes it, whatever its name is by now, also where somebody else has begun to.
   *
   * @throws {ImageError} If it stays, e.g. on a file system that has become read-only.
   */
  discard(): void {
    this.#isDiscarded = true;
    try {
      if (this.#isNamed && fs.existsSync(this.path)) fs.renameSync(this.path, this.partial);
      fs.rmSync(this.partial, { recursive: true, force: true });
    } catch (error) {
      throw imageError("Cannot remove", this.partial, error);
    }
  }
}

/** Renames a file, but never over another: rename(2) would, and only link(2) tells in one step. */
function renameFile(from: string, to: string): void {
  try {
    fs.linkSync(from, to);
  } catch (error) {
    if (fs.lstatSync(to, { throwIfNoEntry: false }) !== undefined) throw error;
    // a file system without hard links
    return fs.renameSync(from, to);
  }
  fs.unlinkSync(from);
}

/** Removes what has a partial name of this one and whose process is gone. */
function removeAbandoned(name: string): void {
  const parent = path.dirname(name);
  const prefix = `${path.basename(name)}.partial-`;
  for (const entry of fs.readdirSync(parent)) {
    if (!entry.startsWith(prefix)) continue;
    const pid = Number(entry.slice(prefix.length));
    if (!Number.isInteger(pid) || isAlive(pid)) continue;
    fs.rmSync(path.join(parent, entry), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  if (pid === process.pid) return true;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // not ours to ask is alive, too
    return (error as { code?: string }).code !== "ESRCH";
  }
}
