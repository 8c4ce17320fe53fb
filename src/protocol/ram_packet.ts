/** RAM packets: what travels on a multifd channel. */

/** Flag of a packet that ends a round on its channel. */
export const FLAG_SYNC = 0x01;
/** The bits of the flags that hold the compression method, a value and not a set. */
export const METHOD_MASK = 0x3e;
/** Flag of a device-state packet, which has a header of its own. */
export const FLAG_DEVICE_STATE = 0x40;

/** Bytes of pages that a packet carries at most: QEMU's MULTIFD_PACKET_SIZE. */
export const PACKET_SIZE = 512 * 1024;

/** Page sizes of QEMU's targets that are taken, in bytes. */
export const PAGE_SIZES: readonly number[] = [4096, 8192, 16384, 32768, 65536];

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
