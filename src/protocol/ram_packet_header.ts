/** The header of a RAM packet, read and written. */
import { ProtocolError } from "../errors.ts";
import { decodeName, encodeWireName, hex, readU64, viewOf, writeU64 } from "./bytes.ts";
import { MULTIFD_MAGIC, MULTIFD_VERSION } from "./greeting.ts";
import {
  type OffsetsReader,
  type OffsetsWriter,
  readOffsets as readOffsetsHere,
  writeOffsets as writeOffsetsHere,
} from "./page_offsets.ts";
import {
  FLAG_DEVICE_STATE,
  FLAG_SYNC,
  METHOD_MASK,
  pagesPerPacket,
  type RamBlock,
  type RamPacket,
} from "./ram_packet.ts";

const UNUSED_AT = 36;
const RAMBLOCK_AT = 64;
const OFFSETS_AT = 320;

/**
 * Bytes of a RAM packet's header, the same for every packet of a migration.
 *
 * @param pageSize The guest's page size in bytes.
 */
export function ramPacketHeaderSize(pageSize: number): number {
  return OFFSETS_AT + 8 * pagesPerPacket(pageSize);
}

/**
 * Checks the twelve bytes that RAM packets and device-state packets share.
 *
 * @param bytes At least the first 12 bytes of a packet.
 * @returns The packet's flags.
 * @throws {ProtocolError} On a wrong magic or version, or a flag that no known protocol has.
 */
export function parsePacketStart(bytes: Uint8Array): number {
  return checkPacketStart(viewOf(bytes));
}

function checkPacketStart(view: DataView): number {
  const magic = view.getUint32(0);
  if (magic !== MULTIFD_MAGIC) {
    throw new ProtocolError("Packet has a wrong magic", {
      expected: hex(MULTIFD_MAGIC),
      received: hex(magic),
    });
  }
  const version = view.getUint32(4);
  if (version !== MULTIFD_VERSION) {
    throw new ProtocolError("Packet has a wrong version", {
      expected: MULTIFD_VERSION,
      received: version,
    });
  }
  const flags = view.getUint32(8);
  const unknown = (flags & ~(FLAG_SYNC | METHOD_MASK | FLAG_DEVICE_STATE)) >>> 0;
  if (unknown !== 0) {
    throw new ProtocolError("Packet has unknown flags", { received: hex(unknown) });
  }
  if ((flags & FLAG_DEVICE_STATE) !== 0 && (flags & FLAG_SYNC) !== 0) {
    throw new ProtocolError("Packet is both SYNC and device state", { received: hex(flags) });
  }
  return flags;
}

/** How the many offsets of a header are read and written, where not here. */
export interface OffsetLoops {
  /** Reads them. */
  readOffsets: OffsetsReader;
  /** Writes them. */
  writeOffsets: OffsetsWriter;
}

/**
 * The header of one RAM packet after another, in the same bytes: what is the same in most of
 * them is remembered, and nothing is made anew.
 */
export class RamPacketHeader {
  /** The header as on the wire. */
  readonly bytes: Uint8Array;
  readonly #pageSize: number;
  readonly #capacity: number;
  readonly #loops: OffsetLoops;
  readonly #view: DataView;
  readonly #name: Uint8Array;
  readonly #offsetBytes: Uint8Array;
  readonly #offsets: Float64Array;
  /** The block of the packet read last, and its name as on the wire, with the NUL. */
  #known: { blocks: ReadonlyMap<string, RamBlock>; block: RamBlock; name: Uint8Array } | undefined;
  /** The block of the packet written last; null before the first. */
  #written: string | undefined | null = null;

  /**
   * @param pageSize The guest's page size in bytes.
   * @param bytes Where it is: exactly {@linkcode ramPacketHeaderSize} bytes.
   * @param loops How its offsets are read and written.
   * @throws {ProtocolError} If the bytes are too few or too many.
   */
  constructor(
    pageSize: number,
    bytes: Uint8Array = new Uint8Array(ramPacketHeaderSize(pageSize)),
    loops: OffsetLoops = { readOffsets: readOffsetsHere, writeOffsets: writeOffsetsHere },
  ) {
    const size = ramPacketHeaderSize(pageSize);
    if (bytes.length !== size) {
      throw new ProtocolError("Packet header has a wrong length", {
        expected: size,
        received: bytes.length,
      });
    }
    this.bytes = bytes;
    this.#pageSize = pageSize;
    this.#capacity = pagesPerPacket(pageSize);
    this.#loops = loops;
    this.#view = viewOf(bytes);
    this.#name = bytes.subarray(RAMBLOCK_AT, OFFSETS_AT);
    this.#offsetBytes = bytes.subarray(OFFSETS_AT);
    this.#offsets = new Float64Array(this.#capacity);
  }

  /**
   * Checks what RAM packets and device-state packets share, once it is there: {@linkcode
   * parsePacketStart} of {@linkcode bytes}.
   *
   * @returns The packet's flags.
   * @throws {ProtocolError} As there.
   */
  parseStart(): number {
    return checkPacketStart(this.#view);
  }

  /**
   * Reads and checks the header. Nothing in it is believed: counts, the block's name and every
   * offset are checked before they are returned.
   *
   * @param blocks The RAM blocks that the main channel announced, by name.
   * @returns The packet; its offsets are valid until the next is parsed.
   * @throws {ProtocolError} On the first check that fails.
   */
  parse(blocks: ReadonlyMap<string, RamBlock>): RamPacket {
    const view = this.#view;
    const flags = checkPacketStart(view);
    if ((flags & FLAG_DEVICE_STATE) !== 0) {
      throw new ProtocolError("Packet is device state, not RAM", { received: hex(flags) });
    }
    const pagesAlloc = view.getUint32(12);
    const normalPages = view.getUint32(16);
    const nextPacketSize = view.getUint32(20);
    const packetNum = readU64(view, 24);
    const zeroPages = view.getUint32(32);
    if (pagesAlloc > this.#capacity) {
      throw new ProtocolError("Packet has too large a pages_alloc", {
        expected: `at most ${this.#capacity}`,
        received: pagesAlloc,
      });
    }
    if (normalPages > pagesAlloc) {
      throw new ProtocolError("Packet has more normal pages than pages_alloc", {
        expected: `at most ${pagesAlloc}`,
        received: normalPages,
      });
    }
    if (zeroPages > pagesAlloc - normalPages) {
      throw new ProtocolError("Packet has more zero pages than pages_alloc leaves room for", {
        expected: `at most ${pagesAlloc - normalPages}`,
        received: zeroPages,
      });
    }
    if (!Number.isSafeInteger(packetNum)) {
      throw new ProtocolError("Packet has an impossible packet_num", { received: hex(packetNum) });
    }
    const count = normalPages + zeroPages;
    const packet: RamPacket = {
      flags,
      packetNum,
      pagesAlloc,
      nextPacketSize,
      normalPages,
      zeroPages,
      block: undefined,
      offsets: count === this.#capacity ? this.#offsets : this.#offsets.subarray(0, count),
    };
    // without pages the name, the offsets and next_packet_size may be stale (QEMU 7.2 and 8)
    if (count === 0) return packet;
    if (normalPages === 0 && nextPacketSize !== 0) {
      throw new ProtocolError("Packet of zero pages only announces a payload", {
        expected: 0,
        received: nextPacketSize,
      });
    }
    const block = this.#block(blocks);
    packet.block = block.name;
    this.#readOffsets(block, packet.offsets);
    return packet;
  }

  #readOffsets({ name, usedLength }: RamBlock, into: Float64Array): void {
    const good = this.#loops.readOffsets(this.#offsetBytes, this.#pageSize, usedLength, into);
    if (good === into.length) return;
    const offset = readU64(this.#view, OFFSETS_AT + 8 * good);
    if (offset % this.#pageSize !== 0) {
      throw new ProtocolError(`Packet's page ${good} is not page-aligned`, { block: name, offset });
    }
    throw new ProtocolError(`Packet's page ${good} is past the end of its block`, {
      block: name,
      offset,
      expected: `a page below ${hex(usedLength)}`,
      received: hex(offset),
    });
  }

  #block(blocks: ReadonlyMap<string, RamBlock>): RamBlock {
    const known = this.#known;
    if (known?.blocks === blocks && startsWith(this.#name, known.name)) return known.block;
    const end = this.#name.indexOf(0);
    if (end < 0) throw new ProtocolError("Packet's block name has no end", { expected: "a NUL" });
    const name = decodeName(this.#name.subarray(0, end));
    const block = name === undefined ? undefined : blocks.get(name);
    if (block === undefined) {
      throw new ProtocolError("Packet names an unknown RAM block", {
        received: name === undefined ? "no name" : JSON.stringify(name),
      });
    }
    this.#known = { blocks, block, name: this.#name.slice(0, end + 1) };
    return block;
  }

  /**
   * Writes the header.
   *
   * @param packet What to write; `offsets` holds `normalPages + zeroPages` byte offsets.
   * @throws {OptionError} If the block's name cannot be sent.
   */
  encode(packet: RamPacket): void {
    const view = this.#view;
    view.setUint32(0, MULTIFD_MAGIC);
    view.setUint32(4, MULTIFD_VERSION);
    view.setUint32(8, packet.flags);
    view.setUint32(12, packet.pagesAlloc);
    view.setUint32(16, packet.normalPages);
    view.setUint32(20, packet.nextPacketSize);
    writeU64(view, 24, packet.packetNum);
    view.setUint32(32, packet.zeroPages);
    if (packet.block !== this.#written) {
      this.bytes.fill(0, UNUSED_AT, OFFSETS_AT);
      if (packet.block !== undefined) this.#name.set(encodeWireName(packet.block));
      this.#written = packet.block;
    }
    const count = packet.normalPages + packet.zeroPages;
    const { offsets } = packet;
    this.#loops.writeOffsets(
      offsets.length === count ? offsets : offsets.subarray(0, count),
      this.#offsetBytes,
    );
    if (count < this.#capacity) this.#offsetBytes.fill(0, 8 * count);
  }
}

function startsWith(bytes: Uint8Array, start: Uint8Array): boolean {
  for (let i = 0; i < start.length; i++) if (bytes[i] !== start[i]) return false;
  return true;
}

/**
 * Reads and checks the header of a single RAM packet.
 *
 * @param bytes The header, exactly {@linkcode ramPacketHeaderSize} bytes.
 * @param pageSize The guest's page size in bytes.
 * @param blocks The RAM blocks that the main channel announced, by name.
 * @returns The packet.
 * @throws {ProtocolError} On the first check that fails.
 */
export function parseRamPacket(
  bytes: Uint8Array,
  pageSize: number,
  blocks: ReadonlyMap<string, RamBlock>,
): RamPacket {
  return new RamPacketHeader(pageSize, bytes).parse(blocks);
}

/**
 * Writes the header of a single RAM packet.
 *
 * @param packet What to write; `offsets` holds `normalPages + zeroPages` byte offsets.
 * @param pageSize The guest's page size in bytes.
 * @param into Where: at least {@linkcode ramPacketHeaderSize} bytes, all overwritten.
 * @throws {OptionError} If the block's name cannot be sent.
 */
export function encodeRamPacket(packet: RamPacket, pageSize: number, into: Uint8Array): void {
  const bytes = into.subarray(0, ramPacketHeaderSize(pageSize));
  new RamPacketHeader(pageSize, bytes).encode(packet);
}
