/** Makes the main channel's stream, piece by piece in the order that QEMU accepts. */
import { encodeName, encodeWireName, viewOf, writeU64 } from "./bytes.ts";
import {
  COMMAND,
  MAIN_MAGIC,
  MAIN_VERSION,
  RAM_SECTION_VERSION,
  RECORD,
  SECTION,
  type SyncMode,
} from "./main_channel.ts";
import type { RamBlock } from "./ram_packet.ts";

/** Section id of the RAM; QEMU takes any. */
const RAM_SECTION_ID = 2;

/** Bytes being put together. */
class Bytes {
  #bytes: Uint8Array = new Uint8Array(256);
  #length = 0;

  #room(size: number): number {
    const at = this.#length;
    this.#length += size;
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(2 * this.#length);
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    return at;
  }

  u8(value: number): this {
    this.#bytes[this.#room(1)] = value;
    return this;
  }

  u16(value: number): this {
    const at = this.#room(2);
    viewOf(this.#bytes).setUint16(at, value);
    return this;
  }

  u32(value: number): this {
    const at = this.#room(4);
    viewOf(this.#bytes).setUint32(at, value);
    return this;
  }

  u64(value: number): this {
    const at = this.#room(8);
    writeU64(viewOf(this.#bytes), at, value);
    return this;
  }

  raw(bytes: Uint8Array): this {
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  name(text: string): this {
    const bytes = encodeWireName(text);
    return this.u8(bytes.length).raw(bytes);
  }

  done(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}

/** Makes the main channel's bytes; it keeps only what the format itself carries over. */
export class MainChannelWriter {
  readonly #mode: SyncMode;
  #lastBlock: string | undefined;

  /**
   * Starts a stream.
   *
   * @param mode How the destination expects syncs to be marked.
   */
  constructor(mode: SyncMode) {
    this.#mode = mode;
  }

  /**
   * The stream's head: magic, version, configuration.
   *
   * @param machine Machine type; QEMU refuses another than its own.
   * @param pageSize Page size in bytes; told on the wire only where it is not 4096.
   */
  head(machine: string, pageSize: number): Uint8Array {
    const name = encodeName(machine);
    const bytes = new Bytes().u32(MAIN_MAGIC).u32(MAIN_VERSION)
      .u8(SECTION.CONFIGURATION).u32(name.length).raw(name);
    if (pageSize !== 4096) {
      bytes.u8(SECTION.SUBSECTION).name("configuration/target-page-bits").u32(1)
        .u32(Math.log2(pageSize));
    }
    return bytes.done();
  }

  /** Asks the destination to answer on this connection. */
  openReturnPath(): Uint8Array {
    return new Bytes().u8(SECTION.COMMAND).u16(COMMAND.OPEN_RETURN_PATH).u16(0).done();
  }

  /**
   * Asks for a PONG.
   *
   * @param value A u32 that comes back.
   */
  ping(value: number): Uint8Array {
    return new Bytes().u8(SECTION.COMMAND).u16(COMMAND.PING).u16(4).u32(value).done();
  }

  /**
   * RAM's START section: the blocks and the marker of the set-up sync.
   *
   * @param blocks All blocks of the guest.
   */
  ramStart(blocks: readonly RamBlock[]): Uint8Array {
    const total = blocks.reduce((sum, block) => sum + block.usedLength, 0);
    const bytes = new Bytes().u8(SECTION.START).u32(RAM_SECTION_ID).name("ram").u32(0)
      .u32(RAM_SECTION_VERSION).u64(total + RECORD.MEM_SIZE);
    for (const block of blocks) bytes.name(block.name).u64(block.usedLength);
    return this.#close(bytes);
  }

  /** Opens a PART section; {@linkcode zeroPages} may follow, {@linkcode ramPartEnd} must. */
  ramPart(): Uint8Array {
    return new Bytes().u8(SECTION.PART).u32(RAM_SECTION_ID).done();
  }

  /**
   * Zero pages that travel here and not on the channels; only in an open PART section.
   *
   * @param block The pages' block.
   * @param offsets Their byte offsets in it.
   */
  zeroPages(block: string, offsets: Iterable<number>): Uint8Array {
    const bytes = new Bytes();
    for (const offset of offsets) {
      if (block === this.#lastBlock) bytes.u64(offset + RECORD.ZERO + RECORD.CONTINUE);
      else bytes.u64(offset + RECORD.ZERO).name(block);
      this.#lastBlock = block;
      bytes.u8(0);
    }
    return bytes.done();
  }

  /** Closes a PART section with the marker of a sync. */
  ramPartEnd(): Uint8Array {
    return this.#close(new Bytes());
  }

  /** RAM's END section with the marker of the last sync. */
  ramEnd(): Uint8Array {
    return this.#close(new Bytes().u8(SECTION.END).u32(RAM_SECTION_ID));
  }

  #close(bytes: Bytes): Uint8Array {
    if (this.#mode === "round") bytes.u64(RECORD.MULTIFD_FLUSH);
    return bytes.u64(RECORD.EOS).u8(SECTION.FOOTER).u32(RAM_SECTION_ID).done();
  }
}

/**
 * The tail of a stream without devices: end of sections, and a description that lists none.
 * QEMU waits for a description, so one is always sent.
 */
export function emptyVmTail(): Uint8Array {
  return new Bytes().u8(SECTION.EOF).u8(SECTION.VMDESCRIPTION).u32(2).raw(encodeName("{}")).done();
}
