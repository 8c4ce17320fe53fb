/** RAM to send that is in a mapped-ram file, which a QEMU made with `migrate file:` or multifd. */
import { ImageError, MultifdError, UnsupportedError, VerificationError } from "../errors.ts";
import { viewOf } from "../protocol/bytes.ts";
import { MAIN_MAGIC, MAIN_VERSION } from "../protocol/main_channel.ts";
import type { MainChannelEvent } from "../protocol/main_channel_event.ts";
import { MainChannelReader } from "../protocol/main_channel_reader.ts";
import type { RamBlock } from "../protocol/ram_packet.ts";
import type { VmTail } from "../protocol/vm_tail.ts";
import { isFile } from "./files.ts";
import { PresentPages } from "./present_pages.ts";
import type { RamSource, SharedRam } from "./target.ts";
import { WatchedFile } from "./watched_file.ts";

/** What is read at once of everything but pages, in bytes. */
const CHUNK = 64 * 1024;

interface Place {
  pagesOffset: number;
  present: PresentPages;
}

/** A mapped-ram file as RAM; opened once, read only, and watched for change. */
export class MappedRamSource implements RamSource {
  /** The blocks, in the file's order. */
  blocks: readonly RamBlock[] = [];
  /** Machine type. */
  machine = "";
  /** The guest's uuid, where the file tells it. */
  uuid: Uint8Array | undefined;
  /** Page size in bytes. */
  pageSize = 4096;
  /** Capabilities without which the file cannot be read. */
  capabilities: readonly string[] = [];
  /** What follows RAM's END, parsed and proven. */
  readonly tail: VmTail;
  readonly #file: WatchedFile;
  readonly #places: Place[] = [];

  /**
   * Opens a file and checks everything in it but the pages.
   *
   * @param file Its path.
   * @param maxRam Most bytes of RAM. Default 1 TiB.
   * @throws {ImageError} If it cannot be read.
   * @throws {VerificationError} If it is not what it should be.
   * @throws {UnsupportedError} If it has a feature that is refused by name.
   */
  constructor(file: string, maxRam?: number) {
    this.#file = new WatchedFile(file);
    try {
      this.tail = this.#readStream(maxRam);
    } catch (error) {
      this.close();
      throw explain(file, error);
    }
  }

  #readStream(maxRam: number | undefined): VmTail {
    const reader = new MainChannelReader({ fileSize: this.#file.size, maxRam });
    let tail: VmTail | undefined;
    for (;;) {
      // a new one each time: the reader keeps what it is given
      const chunk = new Uint8Array(CHUNK);
      const read = this.#file.read(reader.position, chunk);
      if (read === 0) break;
      for (const event of reader.push(chunk.subarray(0, read))) {
        if (event.type === "end") tail = event.tail;
        else this.#take(event);
      }
    }
    if (tail !== undefined) return tail;
    throw new VerificationError(`it ends before ${reader.expecting}`, { offset: reader.position });
  }

  #take(event: MainChannelEvent): void {
    if (event.type === "configuration") {
      this.machine = event.machine;
      this.uuid = event.uuid;
      this.pageSize = event.pageSize ?? this.pageSize;
      this.capabilities = event.capabilities;
    } else if (event.type === "mapped-pages") {
      const { usedLength, pagesOffset, bitmap } = event;
      const present = new PresentPages(usedLength, this.pageSize);
      present.set.fromBitmap(bitmap);
      this.#places.push({ pagesOffset, present });
    } else if (event.type === "blocks") this.blocks = event.blocks;
  }

  /** What follows RAM's END. */
  get deviceState(): Uint8Array {
    return this.tail.bytes;
  }

  /** How many pages of each block hold data, in block order. */
  get presentPages(): number[] {
    return this.#places.map(({ present }) => present.set.count);
  }

  /** Reads pages of a block. */
  read(block: number, offset: number, into: Uint8Array): void {
    const { pagesOffset, present } = this.#places[block]!;
    const { name } = this.blocks[block]!;
    // QEMU leaves stale bytes where a page became zero: only the bitmap tells
    present.read(offset, into, (offset, into) => {
      this.#file.readPages(name, pagesOffset, offset, into);
    });
  }

  /** The stretches of the file, with their bitmaps. */
  share(): SharedRam {
    const files = this.#places.map(({ pagesOffset, present }) => ({
      path: this.#file.path,
      descriptor: this.#file.descriptor,
      byteOffset: pagesOffset,
      present: present.shared,
    }));
    return { type: "files", files };
  }

  /** Compares the file's size and times with those it had when it was opened. */
  verifyUnchanged(): void {
    this.#file.verifyUnchanged();
  }

  /** Closes the file. */
  close(): void {
    this.#file.close();
  }
}

/** Whether a path is a file that starts as a migration stream does; false if it is nothing. */
export function isMigrationFile(path: string): boolean {
  if (!isFile(path)) return false;
  const start = new Uint8Array(8);
  const file = new WatchedFile(path);
  try {
    if (file.read(0, start) < start.length) return false;
  } finally {
    file.close();
  }
  const view = viewOf(start);
  return view.getUint32(0) === MAIN_MAGIC && view.getUint32(4) === MAIN_VERSION;
}

/** Says of which file an error is; on a connection it would be the peer's. */
function explain(file: string, error: unknown): unknown {
  if (!(error instanceof MultifdError) || error instanceof ImageError) return error;
  const ErrorClass = error instanceof UnsupportedError ? UnsupportedError : VerificationError;
  const facts = { ...error.facts, channel: undefined };
  return new ErrorClass(`Cannot read ${file}: ${error.summary}`, facts, { cause: error });
}
