/** Makes the main channel's stream, piece by piece in the order that QEMU accepts. */
import { ByteWriter } from "./byte_writer.ts";
import { encodeName } from "./bytes.ts";
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

/** What a stream's head tells only where it must. */
export interface HeadOptions {
  /** Capabilities without which the stream cannot be read. */
  capabilities?: readonly string[] | undefined;
  /** The guest's uuid, 16 bytes. A QEMU of another uuid then refuses the stream. */
  uuid?: Uint8Array | undefined;
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
   * @param more What QEMU tells in some streams only.
   */
  head(machine: string, pageSize: number, more: HeadOptions = {}): Uint8Array {
    const { capabilities, uuid } = more;
    const name = encodeName(machine);
    const bytes = new ByteWriter().u32(MAIN_MAGIC).u32(MAIN_VERSION)
      .u8(SECTION.CONFIGURATION).u32(name.length).raw(name);
    if (pageSize !== 4096) {
      bytes.u8(SECTION.SUBSECTION).name("configuration/target-page-bits").u32(1)
        .u32(Math.log2(pageSize));
    }
    if (capabilities !== undefined) {
      bytes.u8(SECTION.SUBSECTION).name("configuration/capabilities").u32(1)
        .u32(capabilities.length);
      for (const capability of capabilities) bytes.name(capability);
    }
    if (uuid !== undefined) {
      bytes.u8(SECTION.SUBSECTION).name("configuration/uuid").u32(1).raw(uuid);
    }
    return bytes.done();
  }

  /** Asks the destination to answer on this connection. */
  openReturnPath(): Uint8Array {
    return new ByteWriter().u8(SECTION.COMMAND).u16(COMMAND.OPEN_RETURN_PATH).u16(0).done();
  }

  /**
   * Asks for a PONG.
   *
   * @param value A u32 that comes back.
   */
  ping(value: number): Uint8Array {
    return new ByteWriter().u8(SECTION.COMMAND).u16(COMMAND.PING).u16(4).u32(value).done();
  }

  /**
   * RAM's START section: the blocks and the marker of the set-up sync.
   *
   * @param blocks All blocks of the guest.
   */
  ramStart(blocks: readonly RamBlock[]): Uint8Array {
    const bytes = new ByteWriter().raw(this.ramSize(blocks));
    for (const block of blocks) bytes.name(block.name).u64(block.usedLength);
    return this.#close(bytes);
  }

  /** RAM's START section up to where the blocks come, for a file that has more to say of each. */
  ramSize(blocks: readonly RamBlock[]): Uint8Array {
    const total = blocks.reduce((sum, block) => sum + block.usedLength, 0);
    return new ByteWriter().u8(SECTION.START).u32(RAM_SECTION_ID).name("ram").u32(0)
      .u32(RAM_SECTION_VERSION).u64(total + RECORD.MEM_SIZE).done();
  }

  /** Opens a PART section; {@linkcode zeroPages} may follow, {@linkcode ramPartEnd} must. */
  ramPart(): Uint8Array {
    return new ByteWriter().u8(SECTION.PART).u32(RAM_SECTION_ID).done();
  }

  /**
   * Zero pages that travel here and not on the channels; only in an open PART section.
   *
   * @param block The pages' block.
   * @param offsets Their byte offsets in it.
   */
  zeroPages(block: string, offsets: Iterable<number>): Uint8Array {
    const bytes = new ByteWriter();
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
    return this.#close(new ByteWriter());
  }

  /** RAM's END section with the marker of the last sync. */
  ramEnd(): Uint8Array {
    return this.#close(new ByteWriter().u8(SECTION.END).u32(RAM_SECTION_ID));
  }

  #close(bytes: ByteWriter): Uint8Array {
    if (this.#mode === "round") bytes.u64(RECORD.MULTIFD_FLUSH);
    return bytes.u64(RECORD.EOS).u8(SECTION.FOOTER).u32(RAM_SECTION_ID).done();
  }
}

/**
 * The tail of a stream without devices: end of sections, and a description that lists none.
 * QEMU waits for a description, so one is always sent.
 */
export function emptyVmTail(): Uint8Array {
  return new ByteWriter().u8(SECTION.EOF).u8(SECTION.VMDESCRIPTION).u32(2).raw(encodeName("{}"))
    .done();
}
