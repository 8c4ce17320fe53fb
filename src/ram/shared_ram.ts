/** RAM as a channel in a worker reaches it: the shim's files, or shared memory. */
import { cString, errorName, nativeIo } from "../../ffi/io.ts";
import { ImageError } from "../errors.ts";
import type { RamBlock } from "../protocol/ram_packet.ts";
import type { PageWriter } from "./guest_ram.ts";
import { FileHoles } from "./file_holes.ts";
import { PresentPages } from "./present_pages.ts";
import { type RamSource, runsOf, type SharedFile, type SharedRam } from "./target.ts";
import type { WriteTurn } from "./write_turn.ts";

/** A block's stretch of a file, open here. */
interface OpenFile extends Pick<SharedFile, "path" | "byteOffset"> {
  fd: number;
  holes: FileHoles;
  present: PresentPages | undefined;
}

/** Reads and writes the blocks of an image that another thread opened. */
export class SharedRamAccess implements PageWriter, Pick<RamSource, "blocks" | "read" | "isZero"> {
  /** The blocks. */
  readonly blocks: readonly RamBlock[];
  readonly #memory: Uint8Array[] = [];
  readonly #files: OpenFile[] = [];
  readonly #turn: WriteTurn | undefined;

  /**
   * @param ram Where the blocks are.
   * @param blocks Their names and lengths, in the same order.
   * @param turn The threads' turns at writing; undefined for files that are only read.
   * @throws {ImageError} If a file cannot be opened.
   */
  constructor(ram: SharedRam, blocks: readonly RamBlock[], turn?: WriteTurn) {
    this.blocks = blocks;
    this.#turn = turn;
    if (ram.type === "memory") {
      for (const { buffer, byteOffset, byteLength } of ram.memory) {
        this.#memory.push(new Uint8Array(buffer, byteOffset, byteLength));
      }
      return;
    }
    for (const [i, { path, descriptor, byteOffset, present }] of ram.files.entries()) {
      const place = descriptor === undefined ? path : `/proc/self/fd/${descriptor}`;
      const fd = nativeIo().file_open(cString(place), turn !== undefined ? 1 : 0);
      if (fd < 0) throw this.#error(`Cannot open ${path}`, fd, i);
      this.#files.push({
        path,
        byteOffset,
        fd,
        holes: new FileHoles(fd),
        present: present && new PresentPages(blocks[i]!.usedLength, present.pageSize, present.bits),
      });
    }
  }

  #error(what: string, result: number, block: number, offset?: number): ImageError {
    const { name } = this.blocks[block]!;
    return new ImageError(what, { block: name, offset, code: errorName(result) });
  }

  get isBusy(): boolean {
    return this.#turn?.isTaken === true;
  }

  /** Writes pages of a block. */
  write(block: number, offsets: Float64Array, pages: Uint8Array): void {
    const memory = this.#memory[block];
    if (memory !== undefined) {
      for (const { offset, bytes } of runsOf(offsets, pages)) memory.set(bytes, offset);
      return;
    }
    const { path, byteOffset, fd, present } = this.#files[block]!;
    const { length } = offsets;
    const pageSize = pages.length / length;
    const places = byteOffset === 0 ? offsets : offsets.map((offset) => byteOffset + offset);
    this.#turn?.take();
    const result = nativeIo().file_write_pages(fd, pages, places, length, pageSize);
    this.#turn?.pass();
    if (result < 0) throw this.#error(`Cannot write ${path}`, result, block, offsets[0]);
    present?.add(offsets);
  }

  /** Whether pages lie in a hole of their file. */
  isZero(block: number, offset: number, length: number): boolean {
    const file = this.#files[block];
    return file !== undefined && file.holes.covers(file.byteOffset + offset, length);
  }

  /** Reads pages of a block. */
  read(block: number, offset: number, into: Uint8Array): void {
    const memory = this.#memory[block];
    if (memory !== undefined) {
      into.set(memory.subarray(offset, offset + into.length));
      return;
    }
    const { present } = this.#files[block]!;
    if (present === undefined) this.#read(block, offset, into);
    else present.read(offset, into, (offset, into) => this.#read(block, offset, into));
  }

  #read(block: number, offset: number, into: Uint8Array): void {
    const { path, byteOffset, fd } = this.#files[block]!;
    const read = nativeIo().file_read(fd, into, into.length, byteOffset + offset);
    if (read < 0) throw this.#error(`Cannot read ${path}`, read, block, offset);
    if (read === into.length) return;
    throw new ImageError(`Image ${path} was truncated while it was read`, {
      block: this.blocks[block]!.name,
      offset: offset + read,
    });
  }

  /** Closes the files. */
  close(): void {
    for (const { fd } of this.#files.splice(0)) nativeIo().io_close(fd);
  }
}
