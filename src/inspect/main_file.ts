/** The main channel of a recording, read as far as it goes. */
import type { MainChannelEvent } from "../protocol/main_channel_event.ts";
import { MainChannelReader } from "../protocol/main_channel_reader.ts";
import type { RamBlock } from "../protocol/ram_packet.ts";
import { WatchedFile } from "../ram/watched_file.ts";
import { type Damage, isDamage, type RecordedMainRecord } from "./items.ts";

/** Bytes read at once. */
const PIECE = 256 * 1024;

/** `main.bin`; what it tells of the guest is known once it was read. */
export class MainFile {
  /** Machine type. */
  machine: string | undefined;
  /** The guest's uuid, 16 bytes, where the stream tells it. */
  uuid: Uint8Array | undefined;
  /** Page size in bytes: x86's where the stream does not tell. */
  pageSize = 4096;
  /** The RAM blocks by name; undefined if the stream is damaged before it announces them. */
  blocks: ReadonlyMap<string, RamBlock> | undefined;
  /** Markers, each of which every channel owes a SYNC. */
  markers = 0;
  /** Bytes that could be read. */
  bytesRead = 0;
  /** Whether all of it could be read. */
  isWhole = false;
  readonly #path: string;
  readonly #reader: MainChannelReader;

  /**
   * @param path The file.
   * @param maxRam Most bytes of RAM. Default 1 TiB.
   */
  constructor(path: string, maxRam?: number) {
    this.#path = path;
    this.#reader = new MainChannelReader({ maxRam });
  }

  /**
   * Reads it, once.
   *
   * @returns Its records, and at last what is wrong with it.
   * @throws {ImageError} If the file cannot be read.
   */
  *read(): Generator<RecordedMainRecord | Damage, void, void> {
    const file = new WatchedFile(this.#path);
    try {
      yield* this.#records(file);
      this.isWhole = true;
    } catch (error) {
      if (!isDamage(error)) throw error;
      error.locate({ channel: "main", offset: this.#reader.position });
      const offset = error.facts.offset!;
      this.bytesRead = Math.min(offset, this.bytesRead);
      yield { type: "damage", channel: "main", offset, isReadOn: false, error };
    } finally {
      file.close();
    }
  }

  *#records(file: WatchedFile): Generator<RecordedMainRecord, void, void> {
    for (;;) {
      // a new one each time: the reader keeps what it is given
      const piece = new Uint8Array(PIECE);
      const read = file.read(this.bytesRead, piece);
      if (read === 0) break;
      this.bytesRead += read;
      for (const event of this.#reader.push(piece.subarray(0, read))) {
        const record = this.#take(event);
        if (record !== undefined) yield record;
      }
    }
    this.#reader.end();
  }

  #take(event: MainChannelEvent): RecordedMainRecord | undefined {
    if (event.type === "configuration") {
      this.machine = event.machine;
      this.uuid = event.uuid;
      this.pageSize = event.pageSize ?? this.pageSize;
    } else if (event.type === "blocks") {
      this.blocks = new Map(event.blocks.map((block) => [block.name, block]));
    } else if (event.type === "sync") {
      return { ...this.#record("sync"), round: ++this.markers };
    } else if (event.type === "zero" || event.type === "page") {
      const { type, block, offset } = event;
      const data = event.type === "page" ? event.data : undefined;
      return { ...this.#record(type), block, page: offset, data };
    }
    return undefined;
  }

  #record(kind: RecordedMainRecord["kind"]): RecordedMainRecord {
    return {
      type: "record",
      channel: "main",
      kind,
      offset: this.#reader.recordPosition,
      round: this.markers + 1,
      block: undefined,
      page: undefined,
      data: undefined,
    };
  }
}

class AnyBlock extends Map<string, RamBlock> {
  override get(name: string): RamBlock {
    return { name, usedLength: Number.MAX_SAFE_INTEGER };
  }
}

/** For blocks that are not known: every name is one, and every page may be in it. */
export const ANY_BLOCK: ReadonlyMap<string, RamBlock> = new AnyBlock();
