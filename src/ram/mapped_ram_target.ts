/** The mapped-ram file a VM is received into: one that a QEMU loads with `-incoming file:`. */
import fs from "node:fs";
import { ImageError, MultifdError } from "../errors.ts";
import {
  bitmapSize,
  encodeMappedBlock,
  encodeMappedEnd,
  encodeMappedHead,
  placePages,
} from "../protocol/mapped_ram.ts";
import type { RamBlock } from "../protocol/ram_packet.ts";
import { allDone, fdatasync, fsync, imageError, writeWhole } from "./files.ts";
import { hashBlock } from "./hash.ts";
import { PartialPath } from "./partial_path.ts";
import { PresentPages } from "./present_pages.ts";
import {
  type FinishedBlock,
  type RamTarget,
  type ReceivedVm,
  runsOf,
  type SharedRam,
} from "./target.ts";

interface MappedBlock extends RamBlock {
  pagesOffset: number;
  present: PresentPages;
}

/** A target that is one sparse file; it has its name only when it is whole and on disk. */
export class MappedRamTarget implements RamTarget {
  readonly #place: PartialPath;
  readonly #hash: boolean;
  #fd: number | undefined;
  #blocks: MappedBlock[] = [];
  #writingBack: Promise<void> | undefined;

  /**
   * Takes the place: checks that the name is free and clears away what an earlier run left.
   *
   * @param file Its final name; nothing may be there.
   * @param hash Whether the blocks' SHA-256 are computed.
   * @throws {ImageError} If the name is taken or nothing can be made there.
   */
  constructor(file: string, hash: boolean) {
    this.#hash = hash;
    try {
      this.#place = new PartialPath(file);
      if (fs.lstatSync(file, { throwIfNoEntry: false }) !== undefined) {
        throw new ImageError(`Cannot receive into ${file}: it exists`);
      }
      this.#fd = fs.openSync(this.#place.partial, "wx+", 0o600);
    } catch (error) {
      if (error instanceof ImageError) throw error;
      throw imageError("Cannot make", file, error);
    }
  }

  /** Gives each block's pages their place; what is around them is written at the end. */
  create(blocks: readonly RamBlock[], pageSize: number): void {
    const places = placePages(blocks, pageSize);
    this.#blocks = blocks.map((block, i) => ({
      ...block,
      pagesOffset: places[i]!,
      present: new PresentPages(block.usedLength, pageSize),
    }));
  }

  /** Writes pages to their place. */
  write(block: number, offsets: Float64Array, pages: Uint8Array): void {
    const { name, pagesOffset, present } = this.#blocks[block]!;
    for (const { offset, bytes } of runsOf(offsets, pages)) {
      try {
        writeWhole(this.#fd!, bytes, pagesOffset + offset);
      } catch (error) {
        throw imageError("Cannot write", this.#place.partial, error)
          .locate({ block: name, offset });
      }
    }
    // a page that is zeroed later stays: its zeros are in the file
    present.add(offsets);
  }

  /** The stretches of the file. */
  share(): SharedRam {
    const files = this.#blocks.map(({ pagesOffset, present }) => ({
      path: this.#place.partial,
      byteOffset: pagesOffset,
      present: present.shared,
    }));
    return { type: "files", files };
  }

  /** Puts on disk what the file holds by now. */
  writeBack(): Promise<void> {
    this.#writingBack ??= this.#writeBack().then(() => this.#writingBack = undefined);
    return this.#writingBack;
  }

  async #writeBack(): Promise<void> {
    try {
      await fdatasync(this.#fd!);
    } catch (error) {
      throw imageError("Cannot sync", this.#place.partial, error);
    }
  }

  /** Writes what is around the pages, hashes and syncs at the same time, and names the file. */
  async finish(vm: ReceivedVm, blocks: readonly FinishedBlock[]): Promise<FinishedBlock[]> {
    const fd = this.#fd!;
    try {
      this.#writeAround(fd, vm);
      // the system tells of a failed write only once: it may have told the one under way
      const [finished] = await allDone([this.#hashAll(blocks), this.#writingBack, fsync(fd)]);
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
      finished.push(await hashBlock(this.#place.partial, this.#blocks[i]!.pagesOffset, block));
    }
    return finished;
  }

  #writeAround(fd: number, { machine, uuid, pageSize, tail }: ReceivedVm): void {
    let at = 0;
    const append = (bytes: Uint8Array): void => {
      writeWhole(fd, bytes, at);
      at += bytes.length;
    };
    append(encodeMappedHead(machine, uuid, this.#blocks, pageSize));
    for (const block of this.#blocks) {
      const { usedLength, pagesOffset, present } = block;
      const bitmap = new Uint8Array(bitmapSize(usedLength / pageSize));
      present.set.toBitmap(bitmap);
      append(encodeMappedBlock(block, pageSize, { pagesOffset, bitmap }, at));
      at = pagesOffset + usedLength;
    }
    append(encodeMappedEnd());
    append(tail.bytes);
  }

  #close(): void {
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** Removes the file, whatever its name is by now. */
  discard(): void {
    this.#close();
    this.#place.discard();
  }
}
