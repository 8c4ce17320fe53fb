/** Where received RAM goes, and where sent RAM comes from. */
import type { RamBlock } from "../protocol/ram_packet.ts";
import type { VmTail } from "../protocol/vm_tail.ts";
import type { ManifestCounters, ManifestSource } from "./manifest.ts";

/** What is known of a received VM besides its pages. */
export interface ReceivedVm {
  /** Machine type. */
  machine: string;
  /** The guest's uuid, 16 bytes; zeros where it has none. */
  uuid: Uint8Array;
  /** Page size in bytes. */
  pageSize: number;
  /** What followed RAM's END, whole. */
  tail: VmTail;
  /** What the migration counted. */
  counters: ManifestCounters;
  /** What is known of the source, where somebody asked it. */
  source?: ManifestSource | undefined;
}

/** A block as it was finished. */
export interface FinishedBlock extends RamBlock {
  /** SHA-256 of its content in hex; undefined if hashing was off. */
  sha256: string | undefined;
  /** Pages that never arrived and were taken as zero. */
  missing: number;
}

/** RAM that several threads reach: a file, or shared memory, for each block. */
export type SharedRam =
  | { type: "files"; files: SharedFile[] }
  | { type: "memory"; memory: SharedPiece[] };

/** A stretch of a file. */
export interface SharedFile {
  /** The file. */
  path: string;
  /**
   * The descriptor of who shares it, where it is read: another file may have its name by the time
   * that a thread opens it.
   */
  descriptor?: number | undefined;
  /** Where the stretch starts, in bytes. */
  byteOffset: number;
  /** Its pages that hold data, where that is told apart: what is read elsewhere is zero. */
  present?: SharedPresentPages | undefined;
}

/** The pages of a block that hold data. */
export interface SharedPresentPages {
  /** A bit for each page; who writes a page sets its bit. */
  bits: SharedArrayBuffer;
  /** Page size in bytes. */
  pageSize: number;
}

/** A stretch of shared memory; a view of it would take Deno seconds per gigabyte to post. */
export interface SharedPiece {
  /** The memory. */
  buffer: SharedArrayBuffer;
  /** Where the stretch starts, in bytes. */
  byteOffset: number;
  /** How long it is, in bytes. */
  byteLength: number;
}

/** Where received RAM goes. It starts all zero. */
export interface RamTarget {
  /**
   * Makes room for the blocks.
   *
   * @throws {ImageError} If there is none.
   */
  create(blocks: readonly RamBlock[], pageSize: number): void;
  /**
   * Writes pages.
   *
   * @param block Ordinal of the block.
   * @param offsets Each page's byte offset in it.
   * @param pages The pages, one after another.
   * @throws {ImageError} E.g. when the disk is full.
   */
  write(block: number, offsets: Float64Array, pages: Uint8Array): void;
  /** How a worker can write to it, too; undefined where it cannot. Called after `create`. */
  share?(): SharedRam | undefined;
  /**
   * Puts on disk what was written so far, off this thread; while it does, the same promise is
   * returned again.
   *
   * @throws {ImageError} If the disk fails.
   */
  writeBack?(): Promise<void>;
  /**
   * Makes the image whole and durable, and returns the blocks with their hashes.
   *
   * @param vm What else is known of the VM.
   * @param blocks The blocks, in order; where a hash is told, a target that hashes proves it.
   */
  finish(vm: ReceivedVm, blocks: readonly FinishedBlock[]): Promise<FinishedBlock[]>;
  /** Gives up: nothing is left behind. */
  discard(): void;
}

/** Where sent RAM comes from. */
export interface RamSource {
  /** The blocks. */
  readonly blocks: readonly RamBlock[];
  /** Machine type, where it is known. */
  readonly machine: string | undefined;
  /** The guest's uuid, where it is known. */
  readonly uuid: Uint8Array | undefined;
  /** Page size in bytes, where it is known. */
  readonly pageSize: number | undefined;
  /** What follows RAM's END, where it is known. */
  readonly deviceState: Uint8Array | undefined;
  /**
   * Reads pages.
   *
   * @param block Ordinal of the block.
   * @param offset Byte offset in it.
   * @param into Filled whole.
   * @throws {ImageError} If they cannot be read.
   */
  read(block: number, offset: number, into: Uint8Array): void;
  /**
   * Whether pages are zero for certain, which saves reading them. Where it is missing, all are read.
   *
   * @param block Ordinal of the block.
   * @param offset Byte offset of the first in it.
   * @param length Bytes of the pages.
   */
  isZero?(block: number, offset: number, length: number): boolean;
  /** How a worker can read it, too; undefined where it cannot. */
  share?(): SharedRam | undefined;
  /**
   * Checks that nobody changed the source since it was opened.
   *
   * @throws {ImageError} If somebody did.
   */
  verifyUnchanged(): void;
  /** Gives everything back. */
  close(): void;
}

/** Splits pages into runs of neighbours: what is written at once. */
export function* runsOf(
  offsets: Float64Array,
  pages: Uint8Array,
): Generator<{ offset: number; bytes: Uint8Array }> {
  const pageSize = pages.length / offsets.length;
  for (let first = 0; first < offsets.length;) {
    let end = first + 1;
    while (end < offsets.length && offsets[end] === offsets[end - 1]! + pageSize) end++;
    yield { offset: offsets[first]!, bytes: pages.subarray(first * pageSize, end * pageSize) };
    first = end;
  }
}
