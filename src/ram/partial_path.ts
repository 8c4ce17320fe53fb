/**
 * A place for an image. What is made there has a name beside its own that says it is
 * partial, and gets its own when it is whole and on disk.
 */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { ImageError } from "../errors.ts";
import { imageError, syncDirectory } from "./files.ts";

/** What this process is making; a partial name with its number may be of an earlier process. */
const inTheMaking = new Set<string>();

/** The two names of a directory or a file in the making. */
export class PartialPath {
  /** Its own name, absolute. */
  readonly path: string;
  /** Its name until it is whole. */
  readonly partial: string;
  #isNamed = false;
  #isDiscarded = false;

  /**
   * Clears away what an earlier run left, which may be a second name of a file that is whole;
   * makes nothing yet.
   *
   * @param name Its own name.
   */
  constructor(name: string) {
    this.path = path.resolve(name);
    this.partial = `${this.path}.partial-${process.pid}`;
    removeAbandoned(this.path);
    inTheMaking.add(this.partial);
  }

  /** Gives it its own name and puts that on disk; its content must be there by now. */
  async publish(): Promise<void> {
    if (this.#isDiscarded) throw new ImageError(`Image ${this.path} was given up`);
    if (fs.statSync(this.partial).isDirectory()) fs.renameSync(this.partial, this.path);
    else nameFile(this.partial, this.path);
    this.#isNamed = true;
    this.#removeSecondName();
    inTheMaking.delete(this.partial);
    await syncDirectory(path.dirname(this.path));
  }

  /** A file that was named by linking it has both names. */
  #removeSecondName(): void {
    if (fs.existsSync(this.partial)) fs.unlinkSync(this.partial);
  }

  /**
   * Removes it, whatever its name is by now, also where somebody else has begun to.
   *
   * @throws {ImageError} If it stays, e.g. on a file system that has become read-only.
   */
  discard(): void {
    this.#isDiscarded = true;
    try {
      if (this.#isNamed && fs.existsSync(this.path)) {
        // rename(2) would leave a file with both names as it is
        this.#removeSecondName();
        fs.renameSync(this.path, this.partial);
      }
      fs.rmSync(this.partial, { recursive: true, force: true });
    } catch (error) {
      throw imageError("Cannot remove", this.partial, error);
    } finally {
      inTheMaking.delete(this.partial);
    }
  }
}

/** Names a file, but never over another: rename(2) would, and only link(2) tells in one step. */
function nameFile(from: string, to: string): void {
  try {
    fs.linkSync(from, to);
  } catch (error) {
    if (fs.lstatSync(to, { throwIfNoEntry: false }) !== undefined) throw error;
    // a file system without hard links
    fs.renameSync(from, to);
  }
}

/** Removes what has a partial name of this one and whose process is gone. */
function removeAbandoned(name: string): void {
  const parent = path.dirname(name);
  const prefix = `${path.basename(name)}.partial-`;
  for (const entry of fs.readdirSync(parent)) {
    if (!entry.startsWith(prefix)) continue;
    const pid = Number(entry.slice(prefix.length));
    const partial = path.join(parent, entry);
    if (!Number.isInteger(pid) || inTheMaking.has(partial) || isAlive(pid)) continue;
    fs.rmSync(partial, { recursive: true, force: true });
  }
}

/** Whether another process has this number; in a container all runs may have the same. */
function isAlive(pid: number): boolean {
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // not ours to ask is alive, too
    return (error as { code?: string }).code !== "ESRCH";
  }
}
