/** RAM as a channel's worker reaches it: the shim's files, or shared memory. */
import { cString, errorName, nativeIo } from "../../ffi/io.ts";
import { ImageError } from "../errors.ts";
import type { RamBlock } from "../protocol/ram_packet.ts";
import type { PageWriter } from "./guest_ram.ts";
import { type RamSource, runsOf, type SharedRam } from "./target.ts";
import type { WriteTurn } from "./write_turn.ts";

/** Reads and writes the blocks of an image that another thread opened. */
export class SharedRamAccess implements PageWriter, Pick<RamSource, "blocks" | "read"> {
  /** The blocks. */
  readonly blocks: readonly RamBlock[];
  readonly #ram: SharedRam;
  readonly #memory: Uint8Array[] = [];
  readonly #fds: number[] = [];
  readonly #turn: WriteTurn | undefined;

  /**
   * @param ram Where the blocks are.
   * @param blocks Their names and lengths, in the same order.
   * @param turn The threads' turns at writing; undefined for files that are only read.
   * @throws {ImageError} If a file cannot be opened.
   */
  constructor(ram: SharedRam, blocks: readonly RamBlock[], turn?: WriteTurn) {
    this.#ram = ram;
    this.blocks = blocks;
    this.#turn = turn;
    if (ram.type === "memory") {
      for (const { buffer, byteOffset, byteLength } of ram.memory) {
        this.#memory.push(new Uint8Array(buffer, byteOffset, byteLength));
      }
      return;
    }
    for (const file of ram.files) {
      const fd = nativeIo().file_open(cString(file), turn !== undefined ? 1 : 0);
      if (fd < 0) throw this.#error(`Cannot open ${file}`, fd, this.#fds.length);
      this.#fds.push(fd);
    }
  }

  #error(what: string, result: number, block: number, offset?: number): ImageError {
    const { name } = this.blocks[block]!;
    return new ImageError(what, { block: name, offset, code: errorName(result) });
  }

  #file(block: number): string {
    return this.#ram.type === "files" ? this.#ram.files[block]! : "";
  }

  /** Writes pages of a block. */
  write(block: number, offsets: Float64Array, pages: Uint8Array): void {
    if (this.#ram.type === "memory") {
      const memory = this.#memory[block]!;
      for (const { offset, bytes } of runsOf(offsets, pages)) memory.set(bytes, offset);
      return;
    }
    const { length } = offsets;
    const pageSize = pages.length / length;
    const fd = this.#fds[block]!;
    this.#turn?.take();
    const result = nativeIo().file_write_pages(fd, pages, offsets, length, pageSize);
    this.#turn?.pass();
    if (result < 0) {
      throw this.#error(`Cannot write ${this.#file(block)}`, result, block, offsets[0]);
    }
  }

  /** Reads pages of a block. */
  read(block: number, offset: number, into: Uint8Array): void {
    if (this.#ram.type === "memory") {
      into.set(this.#memory[block]!.subarray(offset, offset + into.length));
      return;
    }
    const file = this.#file(block);
    const read = nativeIo().file_read(this.#fds[block]!, into, into.length, BigInt(offset));
    if (read < 0) throw this.#error(`Cannot read ${file}`, read, block, offset);
    if (read === into.length) return;
    throw new ImageError(`Image ${file} was truncated while it was sent`, {
      block: this.blocks[block]!.name,
      offset: offset + read,
    });
  }

  /** Closes the files. */
  close(): void {
    for (const fd of this.#fds.splice(0)) nativeIo().io_close(fd);
  }
}
