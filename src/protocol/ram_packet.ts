/** RAM packets: what travels on a multifd channel. */
import { ProtocolError } from "../errors.ts";
import { hex, viewOf } from "./bytes.ts";
import { MULTIFD_MAGIC, MULTIFD_VERSION } from "./greeting.ts";

/** Flag of a packet that ends a round on its channel. */
export const FLAG_SYNC = 0x01;
/** The bits of the flags that hold the compression method, a value and not a set. */
export const METHOD_MASK = 0x3e;
/** Flag of a device-state packet, which has a header of its own. */
export const FLAG_DEVICE_STATE = 0x40;

/** Bytes of pages that a packet carries at most: QEMU's MULTIFD_PACKET_SIZE. */
export const PACKET_SIZE = 512 * 1024;

/** Where the offsets are in a header; what is before them has one size for every page size. */
export const OFFSETS_AT = 320;

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
  return checkPacketStart(viewOf(bytes));
}

/**
 * The same of a view.
 *
 * @param view At least the first 12 bytes of a packet.
 * @returns The packet's flags.
 * @throws {ProtocolError} As {@linkcode parsePacketStart} does.
 */
export function checkPacketStart(view: DataView): number {
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
