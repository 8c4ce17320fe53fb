/** RAM in memory, to send from or to receive into. */
import { ImageError } from "../errors.ts";
import type { RamBlock } from "../protocol/ram_packet.ts";
import { sha256Of } from "./hash.ts";
import {
  type FinishedBlock,
  type RamSource,
  type RamTarget,
  type ReceivedVm,
  runsOf,
  type SharedPiece,
  type SharedRam,
} from "./target.ts";

/** What a block's memory can be given as. */
export type BlockMemory = SharedArrayBuffer | ArrayBuffer | Uint8Array;

/** What is known of a VM in memory besides its pages. */
export interface MemoryImageOptions {
  /** Machine type, e.g. `pc-q35-10.0`. */
  machine?: string;
  /** The guest's uuid, 16 bytes. */
  uuid?: Uint8Array;
  /** Page size in bytes. */
  pageSize?: number;
  /** What follows RAM's END on the main channel, verbatim. */
  deviceState?: Uint8Array;
}

/**
 * RAM in memory: blocks by name, to send from or to receive into.
 *
 * After a receive that failed, its content means nothing.
 *
 * @example
 * ```ts
 * import { MemoryImage } from "@multifd/multifd";
 *
 * const image = new MemoryImage({ "pc.ram": new SharedArrayBuffer(64 * 4096) });
 * console.log(image.blocks[0]); // { name: "pc.ram", usedLength: 262144 }
 * ```
 */
export class MemoryImage implements RamSource, RamTarget {
  /** Each block's memory, by name; what a receive allocated is in SharedArrayBuffers. */
  readonly memory: Map<string, Uint8Array> = new Map();
  /** Machine type, where it is known. */
  machine: string | undefined;
  /** The guest's uuid, where it is known. */
  uuid: Uint8Array | undefined;
  /** Page size in bytes, where it is known. */
  pageSize: number | undefined;
  /** What follows RAM's END, where it is known. */
  deviceState: Uint8Array | undefined;
  #order: Uint8Array[] = [];

  /**
   * Takes the blocks' memory.
   *
   * @param blocks Each block's memory by name, whole pages. A receive zeroes
   *   what it is given and allocates the blocks that are not named here.
   * @param options What else is known of the VM.
   */
  constructor(blocks: Record<string, BlockMemory> = {}, options: MemoryImageOptions = {}) {
    for (const [name, memory] of Object.entries(blocks)) {
      this.memory.set(name, memory instanceof Uint8Array ? memory : new Uint8Array(memory));
    }
    this.#order = [...this.memory.values()];
    this.machine = options.machine;
    this.uuid = options.uuid;
    this.pageSize = options.pageSize;
    this.deviceState = options.deviceState;
  }

  /** The blocks, in order. */
  get blocks(): RamBlock[] {
    return [...this.memory].map(([name, memory]) => ({ name, usedLength: memory.length }));
  }

  /** Copies pages out of a block. */
  read(block: number, offset: number, into: Uint8Array): void {
    into.set(this.#order[block]!.subarray(offset, offset + into.length));
  }

  /** Does nothing: memory has no one who could change it unseen. */
  verifyUnchanged(): void {}

  /** Does nothing. */
  close(): void {}

  /** Makes room: zeroes what the caller gave, allocates the rest. */
  create(blocks: readonly RamBlock[], _pageSize: number): void {
    this.#order = blocks.map(({ name, usedLength }) => {
      const memory = this.memory.get(name) ?? allocate(name, usedLength);
      if (memory.length !== usedLength) {
        throw new ImageError("Cannot receive into memory of another size", {
          block: name,
          expected: usedLength,
          received: memory.length,
        });
      }
      this.memory.set(name, memory);
      return memory.fill(0);
    });
  }

  /** Copies pages into a block. */
  write(block: number, offsets: Float64Array, pages: Uint8Array): void {
    for (const { offset, bytes } of runsOf(offsets, pages)) this.#order[block]!.set(bytes, offset);
  }

  /** The memory itself, where all of it is shared. */
  share(): SharedRam | undefined {
    const memory: SharedPiece[] = [];
    for (const { buffer, byteOffset, byteLength } of this.#order) {
      if (!(buffer instanceof SharedArrayBuffer)) return undefined;
      memory.push({ buffer, byteOffset, byteLength });
    }
    return { type: "memory", memory };
  }

  /** Keeps what is known of the VM and hashes the blocks. */
  async finish(vm: ReceivedVm, blocks: readonly FinishedBlock[]): Promise<FinishedBlock[]> {
    this.machine = vm.machine;
    this.uuid = vm.uuid;
    this.pageSize = vm.pageSize;
    this.deviceState = vm.tail.bytes;
    const finished: FinishedBlock[] = [];
    for (const [i, block] of blocks.entries()) {
      const memory = this.#order[i]!;
      const sha256 = await sha256Of(memory.length, (at, size) => memory.subarray(at, at + size));
      finished.push({ ...block, sha256 });
    }
    return finished;
  }

  /** Does nothing: the memory is the caller's. */
  discard(): void {}
}

function allocate(name: string, bytes: number): Uint8Array {
  try {
    return new Uint8Array(new SharedArrayBuffer(bytes));
  } catch (cause) {
    throw new ImageError(`Cannot allocate ${bytes} bytes`, { block: name }, { cause });
  }
}
