/**
 * The directory a VM is received into. It is filled beside its place under a
 * name that says it is partial, and gets its own name when it is whole and on disk.
 */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import { ImageError } from "../errors.ts";
import type { RamBlock } from "../protocol/ram_packet.ts";
import { blockFileName } from "./block_file_name.ts";
import { sha256Of } from "./hash.ts";
import { DEVICE_STATE_FILE, formatUuid, makeManifest, MANIFEST_FILE } from "./manifest.ts";
import {
  type FinishedBlock,
  type RamTarget,
  type ReceivedVm,
  runsOf,
  type SharedRam,
} from "./target.ts";

/** Off the event loop's thread: a large file takes seconds. */
const fsync = promisify(fs.fsync);

interface BlockFile {
  name: string;
  file: string;
  fd: number;
}

/** Turns a system error into an {@linkcode ImageError} that names the file and keeps the code. */
export function imageError(what: string, file: string, cause: unknown): ImageError {
  const { code, message } = cause as { code?: string; message: string };
  return new ImageError(`${what} ${file}: ${code ? "system error" : message}`, { code }, { cause });
}

/** A target that is a directory: one sparse file per block, manifest, device state. */
export class ImageDirectory implements RamTarget {
  readonly #path: string;
  readonly #partial: string;
  readonly #hash: boolean;
  #files: BlockFile[] = [];
  #isNamed = false;
  #isDiscarded = false;

  /**
   * Takes the place: checks that the name is free and clears away what an earlier run left.
   *
   * @param directory Its final name; nothing but an empty directory may be there.
   * @param hash Whether the blocks' SHA-256 go into the manifest.
   * @throws {ImageError} If the name is taken or nothing can be made there.
   */
  constructor(directory: string, hash: boolean) {
    this.#path = path.resolve(directory);
    this.#partial = `${this.#path}.partial-${process.pid}`;
    this.#hash = hash;
    try {
      if (fs.existsSync(this.#path) && !isEmptyDirectory(this.#path)) {
        throw new ImageError(`Cannot receive into ${directory}: it exists and is not empty`);
      }
      removeAbandoned(this.#path);
      fs.mkdirSync(this.#partial);
    } catch (error) {
      if (error instanceof ImageError) throw error;
      throw imageError("Cannot make", this.#partial, error);
    }
  }

  /** Makes a sparse file for each block. */
  create(blocks: readonly RamBlock[], _pageSize: number): void {
    for (const [i, { name, usedLength }] of blocks.entries()) {
      const file = blockFileName(name, i);
      try {
        const fd = fs.openSync(path.join(this.#partial, file), "wx+");
        this.#files.push({ name, file, fd });
        fs.ftruncateSync(fd, usedLength);
      } catch (error) {
        throw imageError("Cannot make", file, error).locate({ block: name });
      }
    }
  }

  /** Writes pages to a block's file. */
  write(block: number, offsets: Float64Array, pages: Uint8Array): void {
    const { name, file, fd } = this.#files[block]!;
    for (const { offset, bytes } of runsOf(offsets, pages)) {
      try {
        let at = 0;
        while (at < bytes.length) {
          at += fs.writeSync(fd, bytes, at, bytes.length - at, offset + at);
        }
      } catch (error) {
        throw imageError("Cannot write", file, error).locate({ block: name, offset });
      }
    }
  }

  /** The blocks' files. */
  share(): SharedRam {
    const files = this.#files.map(({ file }) => path.join(this.#partial, file));
    return { type: "files", files };
  }

  /** Hashes, writes the manifest, syncs all of it, and gives it its name. */
  async finish(vm: ReceivedVm, blocks: readonly FinishedBlock[]): Promise<FinishedBlock[]> {
    try {
      const finished: FinishedBlock[] = [];
      for (const [i, block] of blocks.entries()) {
        const { fd } = this.#files[i]!;
        const sha256 = this.#hash ? await hashFile(fd, block.usedLength) : undefined;
        finished.push({ ...block, sha256 });
        await fsync(fd);
      }
      await this.#writeFile(DEVICE_STATE_FILE, vm.tail.bytes);
      const manifest = makeManifest({
        machine: vm.machine,
        uuid: formatUuid(vm.uuid),
        "page-size": vm.pageSize,
        blocks: finished.map((block, i) => ({
          name: block.name,
          file: this.#files[i]!.file,
          "used-length": block.usedLength,
          sha256: block.sha256 ?? null,
          "missing-pages": block.missing,
        })),
        "device-state": {
          file: DEVICE_STATE_FILE,
          bytes: vm.tail.bytes.length,
          sha256: createHash("sha256").update(vm.tail.bytes).digest("hex"),
          "vmdesc-bytes": vm.tail.descriptionBytes,
        },
        counters: vm.counters,
      });
      const text = `${JSON.stringify(manifest, null, 2)}\n`;
      await this.#writeFile(MANIFEST_FILE, new TextEncoder().encode(text));
      await syncDirectory(this.#partial);
      if (this.#isDiscarded) throw new ImageError(`Image ${this.#path} was given up`);
      fs.renameSync(this.#partial, this.#path);
      this.#isNamed = true;
      await syncDirectory(path.dirname(this.#path));
      this.#close();
      return finished;
    } catch (error) {
      if (error instanceof ImageError) throw error;
      throw imageError("Cannot finish", this.#path, error);
    }
  }

  async #writeFile(file: string, bytes: Uint8Array): Promise<void> {
    const fd = fs.openSync(path.join(this.#partial, file), "wx");
    try {
      let at = 0;
      while (at < bytes.length) at += fs.writeSync(fd, bytes, at);
      await fsync(fd);
    } finally {
      fs.closeSync(fd);
    }
  }

  #close(): void {
    for (const { fd } of this.#files.splice(0)) fs.closeSync(fd);
  }

  /** Removes the directory, whatever its name is by now. */
  discard(): void {
    this.#isDiscarded = true;
    this.#close();
    if (this.#isNamed) fs.renameSync(this.#path, this.#partial);
    fs.rmSync(this.#partial, { recursive: true, force: true });
  }
}

async function hashFile(fd: number, length: number): Promise<string> {
  return await sha256Of(length, (offset, size) => {
    const bytes = new Uint8Array(size);
    let at = 0;
    while (at < size) {
      const read = fs.readSync(fd, bytes, at, size - at, offset + at);
      if (read === 0) throw new ImageError("Image shrank while it was hashed");
      at += read;
    }
    return bytes;
  });
}

async function syncDirectory(directory: string): Promise<void> {
  const fd = fs.openSync(directory, "r");
  try {
    await fsync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

function isEmptyDirectory(directory: string): boolean {
  return fs.statSync(directory).isDirectory() && fs.readdirSync(directory).length === 0;
}

/** Removes the partial directories of this name whose process is gone. */
function removeAbandoned(directory: string): void {
  const parent = path.dirname(directory);
  const prefix = `${path.basename(directory)}.partial-`;
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
