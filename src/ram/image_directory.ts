/** The directory a VM is received into: it has its name only when it is whole and on disk. */
import fs from "node:fs";
import path from "node:path";
import { ImageError, MultifdError } from "../errors.ts";
import type { RamBlock } from "../protocol/ram_packet.ts";
import { blockFileName } from "./block_file_name.ts";
import { allDone, fdatasync, fsync, imageError, syncDirectory, writeWhole } from "./files.ts";
import { hashBlock, sha256OfBytes } from "./hash.ts";
import { DEVICE_STATE_FILE, formatUuid, makeManifest, MANIFEST_FILE } from "./manifest.ts";
import { PartialPath } from "./partial_path.ts";
import {
  type FinishedBlock,
  type RamTarget,
  type ReceivedVm,
  runsOf,
  type SharedRam,
} from "./target.ts";

/** Smaller blocks are on disk soon enough at the end. */
const WRITE_BACK_FROM = 16 * 1024 * 1024;

interface BlockFile {
  name: string;
  usedLength: number;
  file: string;
  fd: number;
}

/** A target that is a directory: one sparse file per block, manifest, device state. */
export class ImageDirectory implements RamTarget {
  readonly #place: PartialPath;
  readonly #hash: boolean;
  #files: BlockFile[] = [];
  #writingBack: Promise<void> | undefined;

  /**
   * Takes the place: checks that the name is free and clears away what an earlier run left.
   *
   * @param directory Its final name; nothing but an empty directory may be there.
   * @param hash Whether the blocks' SHA-256 go into the manifest.
   * @throws {ImageError} If the name is taken or nothing can be made there.
   */
  constructor(directory: string, hash: boolean) {
    this.#hash = hash;
    try {
      this.#place = new PartialPath(directory);
      if (fs.existsSync(directory) && !isEmptyDirectory(directory)) {
        throw new ImageError(`Cannot receive into ${directory}: it exists and is not empty`);
      }
      fs.mkdirSync(this.#place.partial);
    } catch (error) {
      if (error instanceof ImageError) throw error;
      throw imageError("Cannot make", directory, error);
    }
  }

  /** Makes a sparse file for each block. */
  create(blocks: readonly RamBlock[], _pageSize: number): void {
    for (const [i, { name, usedLength }] of blocks.entries()) {
      const file = blockFileName(name, i);
      try {
        const fd = fs.openSync(path.join(this.#place.partial, file), "wx+");
        this.#files.push({ name, usedLength, file, fd });
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
        writeWhole(fd, bytes, offset);
      } catch (error) {
        throw imageError("Cannot write", file, error).locate({ block: name, offset });
      }
    }
  }

  /** The blocks' files. */
  share(): SharedRam {
    const files = this.#files.map(({ file }) => ({
      path: path.join(this.#place.partial, file),
      byteOffset: 0,
    }));
    return { type: "files", files };
  }

  /** Puts on disk what the large blocks' files hold by now. */
  writeBack(): Promise<void> {
    this.#writingBack ??= this.#writeBack().then(() => this.#writingBack = undefined);
    return this.#writingBack;
  }

  async #writeBack(): Promise<void> {
    for (const block of this.#files) {
      if (block.usedLength >= WRITE_BACK_FROM) await sync(fdatasync, block);
    }
  }

  /** Hashes and syncs at the same time, writes the manifest, and gives all of it its name. */
  async finish(vm: ReceivedVm, blocks: readonly FinishedBlock[]): Promise<FinishedBlock[]> {
    try {
      const [finished] = await allDone([
        this.#hashAll(blocks),
        this.#writeFile(DEVICE_STATE_FILE, vm.tail.bytes),
        // the system tells of a failed write only once: it may have told this one
        this.#writingBack,
        ...this.#files.map((block) => sync(fsync, block)),
      ]);
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
          sha256: await sha256OfBytes(vm.tail.bytes),
          "vmdesc-bytes": vm.tail.descriptionBytes,
        },
        counters: vm.counters,
        ...(vm.source === undefined ? {} : { source: vm.source }),
      });
      const text = `${JSON.stringify(manifest, null, 2)}\n`;
      await this.#writeFile(MANIFEST_FILE, new TextEncoder().encode(text));
      await syncDirectory(this.#place.partial);
      await this.#place.publish();
      this.#close();
      return finished;
    } catch (error) {
      if (error instanceof MultifdError) throw error;
      throw imageError("Cannot finish", this.#place.path, error);
    }
  }

  async #hashAll(blocks: readonly FinishedBlock[]): Promise<FinishedBlock[]> {
    if (!this.#hash) return [...blocks];
    const finished: FinishedBlock[] = [];
    for (const [i, block] of blocks.entries()) {
      const file = path.join(this.#place.partial, this.#files[i]!.file);
      finished.push(await hashBlock(file, 0, block));
    }
    return finished;
  }

  async #writeFile(file: string, bytes: Uint8Array): Promise<void> {
    try {
      const fd = fs.openSync(path.join(this.#place.partial, file), "wx");
      try {
        writeWhole(fd, bytes, 0);
        await fsync(fd);
      } finally {
        fs.closeSync(fd);
      }
    } catch (error) {
      throw imageError("Cannot write", file, error);
    }
  }

  #close(): void {
    for (const { fd } of this.#files.splice(0)) fs.closeSync(fd);
  }

  /** Removes the directory, whatever its name is by now. */
  discard(): void {
    this.#close();
    this.#place.discard();
  }
}

async function sync(call: typeof fsync, { name, file, fd }: BlockFile): Promise<void> {
  try {
    await call(fd);
  } catch (error) {
    throw imageError("Cannot sync", file, error).locate({ block: name });
  }
}

function isEmptyDirectory(directory: string): boolean {
  return fs.statSync(directory).isDirectory() && fs.readdirSync(directory).length === 0;
}
