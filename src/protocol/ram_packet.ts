/** The header of a RAM packet: what travels on a multifd channel, pages apart. */
import { ProtocolError } from "../errors.ts";
import { decodeName, encodeWireName, hex, readU64, viewOf, writeU64 } from "./bytes.ts";
import { MULTIFD_MAGIC, MULTIFD_VERSION } from "./greeting.ts";

/** Flag of a packet that ends a round on its channel. */
export const FLAG_SYNC = 0x01;
/** The bits of the flags that hold the compression method, a value and not a set. */
export const METHOD_MASK = 0x3e;
/** Flag of a device-state packet, which has a header of its own. */
export const FLAG_DEVICE_STATE = 0x40;

/** Bytes of pages that a packet carries at most: QEMU's MULTIFD_PACKET_SIZE. */
export const PACKET_SIZE = 512 * 1024;

const RAMBLOCK_AT = 64;
const RAMBLOCK_SIZE = 256;
const OFFSETS_AT = 320;

/** A RAM block as the main channel announces it. */
export interface RamBlock {
  /** The block's name, e.g. `pc.ram`. */
  name: string;
  /** Its length in bytes, a multiple of the page size. */
  usedLength: number;
}

/** A RAM packet's header. */
export interface RamPacket {
  /** All flags, as on the wire. */
  flags: number;
  /** Number of the packet over all channels together, from 0. */
  packetNum: number;
  /** The sender's capacity in pages; 0 in the SYNC packets of QEMU 10. */
  pagesAlloc: number;
  /** Bytes of payload after the header; means something only if `normalPages > 0`. */
  nextPacketSize: number;
  /** How many of `offsets` are pages with data; they come first. */
  normalPages: number;
  /** How many of `offsets` are zero pages; they come last. */
  zeroPages: number;
  /** The pages' block; undefined in a packet without pages. */
  block: string | undefined;
  /** Byte offsets in the block: normal pages, then zero pages. */
  offsets: Float64Array;
}

/**
 * Most pages a packet carries.
 *
 * @param pageSize The guest's page size in bytes.
 */
export function pagesPerPacket(pageSize: number): number {
  return PACKET_SIZE / pageSize;
}

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
  const view = viewOf(bytes);
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

/**
 * Reads and checks the header of a RAM packet. Nothing in it is believed:
 * counts, the block's name and every offset are checked before they are returned.
 *
 * @param bytes The header, exactly {@linkcode ramPacketHeaderSize} bytes.
 * @param pageSize The guest's page size in bytes.
 * @param blocks The RAM blocks that the main channel announced, by name.
 * @param room Where its offsets go: a packet's worth; an array of their own where it is missing.
 * @returns The packet.
 * @throws {ProtocolError} On the first check that fails.
 */
export function parseRamPacket(
  bytes: Uint8Array,
  pageSize: number,
  blocks: ReadonlyMap<string, RamBlock>,
  room?: Float64Array,
): RamPacket {
  const headerSize = ramPacketHeaderSize(pageSize);
  if (bytes.length !== headerSize) {
    throw new ProtocolError("Packet header has a wrong length", {
      expected: headerSize,
      received: bytes.length,
    });
  }
  const flags = parsePacketStart(bytes);
  if ((flags & FLAG_DEVICE_STATE) !== 0) {
    throw new ProtocolError("Packet is device state, not RAM", { received: hex(flags) });
  }
  const view = viewOf(bytes);
  const pagesAlloc = view.getUint32(12);
  const normalPages = view.getUint32(16);
  const nextPacketSize = view.getUint32(20);
  const packetNum = readU64(view, 24);
  const zeroPages = view.getUint32(32);
  const capacity = pagesPerPacket(pageSize);
  if (pagesAlloc > capacity) {
    throw new ProtocolError("Packet has too large a pages_alloc", {
      expected: `at most ${capacity}`,
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
    offsets: room?.subarray(0, count) ?? new Float64Array(count),
  };
  // without pages the name, the offsets and next_packet_size may be stale (QEMU 7.2 and 8)
  if (count === 0) return packet;
  if (normalPages === 0 && nextPacketSize !== 0) {
    throw new ProtocolError("Packet of zero pages only announces a payload", {
      expected: 0,
      received: nextPacketSize,
    });
  }
  const block = parseBlockName(bytes, blocks);
  packet.block = block.name;
  const good = readOffsets(view, pageSize, block.usedLength, packet.offsets);
  if (good === count) return packet;
  const offset = readU64(view, OFFSETS_AT + 8 * good);
  if (offset % pageSize !== 0) {
    throw new ProtocolError(`Packet's page ${good} is not page-aligned`, {
      block: block.name,
      offset,
    });
  }
  throw new ProtocolError(`Packet's page ${good} is past the end of its block`, {
    block: block.name,
    offset,
    expected: `a page below ${hex(block.usedLength)}`,
    received: hex(offset),
  });
}

/**
 * Reads offsets up to one that is not page-aligned or not in the block; returns how many.
 * Apart, for a small loop is compiled sooner and for less; no `%`, which is a call for each page.
 */
function readOffsets(
  view: DataView,
  pageSize: number,
  usedLength: number,
  into: Float64Array,
): number {
  // below zero for a tiny block, which has no page then
  const last = usedLength - pageSize;
  for (let i = 0, at = OFFSETS_AT; i < into.length; i++, at += 8) {
    const low = view.getUint32(at + 4);
    const offset = view.getUint32(at) * 0x1_0000_0000 + low;
    if ((low & (pageSize - 1)) !== 0 || offset > last) return i;
    into[i] = offset;
  }
  return into.length;
}

function parseBlockName(bytes: Uint8Array, blocks: ReadonlyMap<string, RamBlock>): RamBlock {
  const field = bytes.subarray(RAMBLOCK_AT, RAMBLOCK_AT + RAMBLOCK_SIZE);
  const end = field.indexOf(0);
  if (end < 0) throw new ProtocolError("Packet's block name has no end", { expected: "a NUL" });
  const name = decodeName(field.subarray(0, end));
  const block = name === undefined ? undefined : blocks.get(name);
  if (block === undefined) {
    throw new ProtocolError("Packet names an unknown RAM block", {
      received: name === undefined ? "no name" : JSON.stringify(name),
    });
  }
  return block;
}

/**
 * Writes the header of a RAM packet.
 *
 * @param packet What to write; `offsets` holds `normalPages + zeroPages` byte offsets.
 * @param pageSize The guest's page size in bytes.
 * @param into Where: at least {@linkcode ramPacketHeaderSize} bytes, all overwritten.
 */
export function encodeRamPacket(packet: RamPacket, pageSize: number, into: Uint8Array): void {
  const size = ramPacketHeaderSize(pageSize);
  into.fill(0, 0, size);
  const view = viewOf(into);
  view.setUint32(0, MULTIFD_MAGIC);
  view.setUint32(4, MULTIFD_VERSION);
  view.setUint32(8, packet.flags);
  view.setUint32(12, packet.pagesAlloc);
  view.setUint32(16, packet.normalPages);
  view.setUint32(20, packet.nextPacketSize);
  writeU64(view, 24, packet.packetNum);
  view.setUint32(32, packet.zeroPages);
  if (packet.block !== undefined) into.set(encodeWireName(packet.block), RAMBLOCK_AT);
  writeOffsets(view, packet.offsets, packet.normalPages + packet.zeroPages);
}

function writeOffsets(view: DataView, offsets: Float64Array, count: number): void {
  for (let i = 0; i < count; i++) writeU64(view, OFFSETS_AT + 8 * i, offsets[i]!);
}

/**
 * The packet that ends a round on a channel: no pages, no payload.
 *
 * @param packetNum Its number over all channels together.
 */
export function syncPacket(packetNum: number): RamPacket {
  return {
    flags: FLAG_SYNC,
    packetNum,
    pagesAlloc: 0,
    nextPacketSize: 0,
    normalPages: 0,
    zeroPages: 0,
    block: undefined,
    offsets: new Float64Array(0),
  };
}
