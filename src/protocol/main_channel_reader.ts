/** Reads the main channel's stream, incrementally: any split of its bytes gives the same events. */
import { PeerClosedError } from "../errors.ts";
import { hex, readU64, viewOf } from "./bytes.ts";
import {
  COMMAND,
  MAIN_MAGIC,
  MAIN_VERSION,
  RAM_SECTION_VERSION,
  RECORD,
  SECTION,
  type SyncMode,
} from "./main_channel.ts";
import { readConfiguration } from "./configuration.ts";
import { MainChannelBytes } from "./main_channel_bytes.ts";
import type { MainChannelEvent } from "./main_channel_event.ts";
import {
  bitmapSize,
  checkBitmap,
  MAPPED_RAM_HEADER_SIZE,
  parseMappedRamHeader,
} from "./mapped_ram.ts";
import type { RamBlock } from "./ram_packet.ts";
import { VmTailReader } from "./vm_tail.ts";

/** Most RAM blocks a stream may announce; a real guest has tens. */
export const MAX_BLOCKS = 4096;
/** Most pages of a block: sets of pages count them in 32 bits. 16 TiB of the smallest pages. */
const MAX_BLOCK_PAGES = 2 ** 32;
/** Default of `maxRam`: 1 TiB. */
export const DEFAULT_MAX_RAM = 1024 ** 4;

const RECORD_KINDS: readonly number[] = Object.values(RECORD);

/** What a reader must be told. */
export interface MainChannelReaderOptions {
  /** Page size in bytes where the stream does not tell it. Default 4096. */
  pageSize?: number | undefined;
  /** Most bytes of RAM, all blocks together. Default 1 TiB. */
  maxRam?: number | undefined;
  /** Bytes of the mapped-ram file that is read; undefined for a connection. */
  fileSize?: number | undefined;
}

/** What an inner step yields: an event, or undefined for "more bytes, please". */
type Step<T = void> = Generator<MainChannelEvent | undefined, T, void>;
type SectionKind = "start" | "part" | "end";

/** Reads the main channel from pieces of any size. */
export class MainChannelReader {
  readonly #in = new MainChannelBytes();
  readonly #steps: Step;
  readonly #maxRam: number;
  readonly #fileSize: number | undefined;
  #pageSize: number;
  #blocks: Map<string, RamBlock> | undefined;
  #lastBlock: RamBlock | undefined;
  #ramId: number | undefined;
  #mode: SyncMode | undefined;
  #recordAt = 0;
  #ended = false;
  #failure: unknown;

  /**
   * Starts at the stream's magic.
   *
   * @param options Page size and bounds.
   */
  constructor(options: MainChannelReaderOptions = {}) {
    this.#pageSize = options.pageSize ?? 4096;
    this.#maxRam = options.maxRam ?? DEFAULT_MAX_RAM;
    this.#fileSize = options.fileSize;
    this.#steps = this.#stream();
  }

  /** What the next bytes should be, for messages. */
  get expecting(): string {
    return this.#in.expecting;
  }

  /** Where in the stream the next bytes to push belong. */
  get position(): number {
    return this.#in.position;
  }

  /** Where in the stream the RAM record begins that was read last. */
  get recordPosition(): number {
    return this.#recordAt;
  }

  /**
   * Takes the next bytes.
   *
   * @param chunk Bytes in the order they came; kept until they are read.
   * @returns The events they complete, one at a time: finish the iteration before the next push.
   * @throws {ProtocolError} On the first check that fails.
   * @throws {UnsupportedError} On a feature that is refused by name.
   */
  *push(chunk: Uint8Array): Generator<MainChannelEvent, void, void> {
    if (this.#ended && chunk.length > 0) {
      throw this.#in.error("Stream goes on after the VM description");
    }
    if (this.#failure !== undefined) throw this.#failure;
    this.#in.push(chunk);
    for (;;) {
      const event = this.#step();
      if (event === undefined) return;
      yield event;
    }
  }

  #step(): MainChannelEvent | undefined {
    try {
      return this.#steps.next().value ?? undefined;
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }

  /**
   * Says that no more bytes come.
   *
   * @throws {PeerClosedError} If the stream is not over.
   */
  end(): void {
    if (this.#ended) return;
    throw new PeerClosedError(`Peer closed the main channel before ${this.expecting}`, {
      channel: "main",
      offset: this.position,
    });
  }

  *#stream(): Step {
    const magic = yield* this.#in.u32("the stream's magic");
    if (magic !== MAIN_MAGIC) {
      throw this.#in.error("Stream has a wrong magic", hex(MAIN_MAGIC), hex(magic));
    }
    const version = yield* this.#in.u32("the stream's version");
    if (version !== MAIN_VERSION) {
      throw this.#in.error("Stream has a wrong version", MAIN_VERSION, version);
    }
    const configuration = yield* readConfiguration(this.#in, this.#fileSize !== undefined);
    this.#pageSize = configuration.pageSize ?? this.#pageSize;
    yield { type: "configuration", ...configuration };
    for (;;) {
      const type = yield* this.#in.u8("a section of the RAM");
      if (type === SECTION.COMMAND) yield* this.#command();
      else if (type === SECTION.START) yield* this.#ramStart();
      else if (type === SECTION.PART) yield* this.#ramSection("part");
      else if (type === SECTION.END) break;
      else if (type === SECTION.FULL) yield* this.#earlyDeviceState();
      else if (type === SECTION.EOF) throw this.#in.error("Stream ends before the RAM does");
      else throw this.#in.error("Stream has an unknown section type", undefined, hex(type));
    }
    const footer = yield* this.#ramSection("end");
    yield { type: "ram-end" };
    yield* this.#tail(footer);
  }

  *#command(): Step {
    const view = viewOf(yield* this.#in.take(4, "a command"));
    const command = view.getUint16(0);
    const length = view.getUint16(2);
    const expected = command === COMMAND.PING ? 4 : 0;
    if (
      command !== COMMAND.OPEN_RETURN_PATH && command !== COMMAND.PING &&
      command !== COMMAND.SWITCHOVER_START
    ) {
      if (command === 8) throw this.#in.unsupported(`COLO (command ${command})`);
      if (command >= 3 && command <= 10) {
        throw this.#in.unsupported(`postcopy (command ${command})`);
      }
      throw this.#in.error("Command is unknown", undefined, command);
    }
    if (length !== expected) {
      throw this.#in.error(`Command ${command} has a wrong length`, expected, length);
    }
    if (command === COMMAND.OPEN_RETURN_PATH) yield { type: "return-path" };
    else if (command === COMMAND.SWITCHOVER_START) yield { type: "switchover-start" };
    else yield { type: "ping", value: yield* this.#in.u32("the ping's value") };
  }

  *#sectionHead(): Step<{ id: number; name: string; instance: number; version: number }> {
    const id = yield* this.#in.u32("a section's id");
    const name = yield* this.#in.name("a section's name");
    const view = viewOf(yield* this.#in.take(8, "a section's instance and version"));
    return { id, name, instance: view.getUint32(0), version: view.getUint32(4) };
  }

  *#earlyDeviceState(): Step {
    const { name } = yield* this.#sectionHead();
    throw this.#in.unsupported(`device state of "${name}" comes before the end of RAM`);
  }

  *#ramStart(): Step {
    const { id, name, instance, version } = yield* this.#sectionHead();
    if (name !== "ram") {
      throw this.#in.unsupported(`section "${name}" is iterable, and only "ram" can be taken`);
    }
    if (this.#ramId !== undefined) throw this.#in.error("RAM section starts twice");
    if (instance !== 0) throw this.#in.error("RAM section has a wrong instance", 0, instance);
    if (version !== RAM_SECTION_VERSION) {
      throw this.#in.error("RAM section has a wrong version", RAM_SECTION_VERSION, version);
    }
    this.#ramId = id;
    yield* this.#ramBody("start");
    yield* this.#footer();
  }

  *#ramSection(kind: SectionKind): Step<Uint8Array> {
    const id = yield* this.#in.u32("a section's id");
    if (id !== this.#ramId) {
      throw this.#in.error("Section is not the RAM's", this.#ramId ?? "a START first", id);
    }
    yield* this.#ramBody(kind);
    return yield* this.#footer();
  }

  *#footer(): Step<Uint8Array> {
    const footer = (yield* this.#in.take(5, "a section's footer")).slice();
    const id = viewOf(footer).getUint32(1);
    if (footer[0] !== SECTION.FOOTER) {
      throw this.#in.error("Section has no footer", hex(SECTION.FOOTER), hex(footer[0]!));
    }
    if (id !== this.#ramId) {
      throw this.#in.error("Footer is of another section", this.#ramId, id);
    }
    return footer;
  }

  /** Reads records until EOS and tells the sync markers among them. */
  *#ramBody(section: SectionKind): Step {
    let flushes = 0;
    for (;;) {
      this.#recordAt = this.#in.consumed;
      const view = viewOf(yield* this.#in.take(8, "a RAM record"));
      const low = view.getUint32(4);
      const flags = low & (this.#pageSize - 1);
      const address = readU64(view, 0) - flags;
      const kind = flags & ~RECORD.CONTINUE;
      if (flags !== kind && kind !== RECORD.ZERO && kind !== RECORD.PAGE) {
        throw this.#in.error("RAM record has CONTINUE where no page is", undefined, hex(flags));
      }
      if (kind === RECORD.EOS) break;
      if (kind === RECORD.MEM_SIZE) {
        if (section !== "start") throw this.#in.error("RAM is sized outside the START section");
        yield* this.#memSize(address);
        continue;
      }
      if (!RECORD_KINDS.includes(kind)) {
        throw this.#in.error(
          "RAM record has unknown flags (or another page size)",
          undefined,
          hex(flags),
        );
      }
      if (this.#blocks === undefined) throw this.#in.error("RAM record comes before MEM_SIZE");
      if (this.#fileSize !== undefined) {
        throw this.#in.error("RAM record in a mapped-ram file", hex(RECORD.EOS), hex(flags));
      }
      if (kind === RECORD.ZERO || kind === RECORD.PAGE) {
        const continued = (flags & RECORD.CONTINUE) !== 0;
        yield* this.#page(kind === RECORD.PAGE, continued, address);
      } else if (kind === RECORD.MULTIFD_FLUSH) {
        if (this.#mode === "section") {
          throw this.#in.error("MULTIFD_FLUSH in a stream that marks syncs per section");
        }
        this.#mode = "round";
        flushes++;
        yield { type: "sync", mode: "round", section };
      } else if (kind === RECORD.XBZRLE) {
        throw this.#in.unsupported("xbzrle pages");
      } else {
        throw this.#in.unsupported("RDMA");
      }
    }
    if (this.#blocks === undefined) throw this.#in.error("RAM section starts without MEM_SIZE");
    // the START body tells the mode: FLUSH before EOS, or EOS alone
    this.#mode ??= "section";
    if (this.#mode === "section") yield { type: "sync", mode: "section", section };
    else if (section === "end" && flushes === 0) {
      throw this.#in.error("RAM ends without a sync marker");
    }
  }

  *#memSize(total: number): Step {
    if (this.#blocks !== undefined) throw this.#in.error("RAM is sized twice");
    if (total > this.#maxRam) {
      throw this.#in.error("RAM is too large (--max-ram)", `at most ${this.#maxRam} bytes`, total);
    }
    const blocks = new Map<string, RamBlock>();
    let left = total;
    while (left > 0) {
      if (blocks.size >= MAX_BLOCKS) {
        throw this.#in.error("Too many RAM blocks", `at most ${MAX_BLOCKS}`);
      }
      const name = yield* this.#in.name("a RAM block's name");
      const usedLength = readU64(viewOf(yield* this.#in.take(8, `the length of "${name}"`)), 0);
      if (blocks.has(name)) throw this.#in.error(`RAM block "${name}" is announced twice`);
      if (usedLength % this.#pageSize !== 0) {
        throw this.#in.error(
          `Length of RAM block "${name}" is not whole pages`,
          `a multiple of ${this.#pageSize}`,
          usedLength,
        );
      }
      if (usedLength > left) {
        throw this.#in.error(
          `RAM block "${name}" is longer than the total leaves`,
          `at most ${left} bytes`,
          usedLength,
        );
      }
      if (usedLength / this.#pageSize > MAX_BLOCK_PAGES) {
        throw this.#in.error(
          `RAM block "${name}" has too many pages`,
          `at most ${MAX_BLOCK_PAGES}`,
          usedLength / this.#pageSize,
        );
      }
      const block = { name, usedLength };
      blocks.set(name, block);
      left -= usedLength;
      if (this.#fileSize !== undefined) yield* this.#mappedPages(block, this.#fileSize);
    }
    if (blocks.size === 0) throw this.#in.error("RAM has no blocks");
    this.#blocks = blocks;
    yield { type: "blocks", blocks: [...blocks.values()] };
  }

  *#mappedPages(block: RamBlock, fileSize: number): Step {
    const { name, usedLength } = block;
    const pageSize = this.#pageSize;
    const header = yield* this.#in.take(MAPPED_RAM_HEADER_SIZE, `the header of "${name}"`);
    const headerEnd = this.#in.consumed;
    const pagesOffset = parseMappedRamHeader(header, { block, pageSize, headerEnd, fileSize });
    const pages = usedLength / pageSize;
    const bitmap = yield* this.#in.take(bitmapSize(pages), `the bitmap of "${name}"`);
    checkBitmap(bitmap, name, pages);
    yield { type: "mapped-pages", ...block, pagesOffset, bitmap };
    this.#in.skipTo(pagesOffset + usedLength);
  }

  *#page(hasData: boolean, continued: boolean, offset: number): Step {
    if (!continued) {
      const name = yield* this.#in.name("a RAM block's name");
      this.#lastBlock = this.#blocks!.get(name);
      if (this.#lastBlock === undefined) throw this.#in.error(`RAM block "${name}" is unknown`);
    }
    const block = this.#lastBlock;
    if (block === undefined) {
      throw this.#in.error("RAM record continues a block, and none was named");
    }
    if (offset + this.#pageSize > block.usedLength) {
      throw this.#in.error(
        "RAM record is past the end of its block",
        `a page below ${hex(block.usedLength)}`,
        hex(offset),
      ).locate({ block: block.name });
    }
    if (hasData) {
      const data = yield* this.#in.take(this.#pageSize, "a page");
      yield { type: "page", block: block.name, offset, data };
      return;
    }
    const fill = yield* this.#in.u8("a zero page's fill");
    if (fill !== 0) throw this.#in.error("Zero page has a fill", 0, fill);
    yield { type: "zero", block: block.name, offset };
  }

  *#tail(footer: Uint8Array): Step {
    const reader = new VmTailReader(footer);
    for (;;) {
      const tail = reader.push(yield* this.#in.takeSome("the VM description at its end"));
      if (tail === undefined) continue;
      this.#ended = true;
      yield { type: "end", tail };
      return;
    }
  }
}
