/** What the files of a recording hold, one item after another. */
import { type MultifdError, PeerClosedError, ProtocolError, VerificationError } from "../errors.ts";

/** A packet of a multifd channel. */
export interface RecordedPacket {
  /** What it is. */
  type: "packet";
  /** Channel number. */
  channel: number;
  /** Ordinal of the packet on its channel, from 0, as errors tell it. */
  packet: number;
  /** Its number over all channels together. */
  packetNum: number;
  /** Where its header begins in the channel's file, in bytes. */
  offset: number;
  /** The round it belongs to: 1 is the set-up's, which ends with the first SYNC. */
  round: number;
  /** All flags, as on the wire. */
  flags: number;
  /** Name of the method of its pages; undefined without pages, or where no method has its flag. */
  method: string | undefined;
  /** The block of its pages; undefined without pages. */
  block: string | undefined;
  /** How many of `pages` have data; they come first. */
  normalPages: number;
  /** How many of `pages` are zero; they come last. */
  zeroPages: number;
  /** Byte offsets of its pages in the block. */
  pages: Float64Array;
  /** Bytes of payload behind its header. */
  payloadBytes: number;
  /** Compressed bytes of each normal page, where the method has them: qpl and uadk. */
  lengths: Uint32Array | undefined;
  /**
   * The normal pages, decompressed; undefined where there are none, or where the payload is
   * damaged or needs one before it that is. Valid until the next item is asked for.
   */
  data: Uint8Array | undefined;
}

/** A record of the main channel that has to do with pages. */
export interface RecordedMainRecord {
  /** What it is. */
  type: "record";
  /** Always the main channel. */
  channel: "main";
  /** A zero page, a page with data, or the marker that ends a round. */
  kind: "zero" | "page" | "sync";
  /** Where it begins in `main.bin`, in bytes. */
  offset: number;
  /** The round it belongs to, or ends. */
  round: number;
  /** The page's block; undefined for a marker. */
  block: string | undefined;
  /** The page's byte offset in the block; undefined for a marker. */
  page: number | undefined;
  /** The page, if it has data. */
  data: Uint8Array | undefined;
}

/** Something that is wrong, where it was found. */
export interface Damage {
  /** What it is. */
  type: "damage";
  /** Channel number, or the main channel. */
  channel: number | "main";
  /** Where in the channel's file: of a packet, where its header begins. */
  offset: number;
  /** Whether more of this channel could be read behind it. */
  isReadOn: boolean;
  /** What is wrong, with channel, packet, block and offset in its facts. */
  error: MultifdError;
}

/** One thing that was read from a recording. */
export type RecordedItem = RecordedPacket | RecordedMainRecord | Damage;

/** Whether an error says that something recorded is wrong, not that it could not be looked at. */
export function isDamage(error: unknown): error is MultifdError {
  return error instanceof ProtocolError || error instanceof PeerClosedError ||
    error instanceof VerificationError;
}
