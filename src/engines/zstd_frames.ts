/**
 * Where zstd frames start and end in a payload (RFC 8878): QEMU sends one
 * frame that never ends, others a frame per packet or per page.
 */
import { CodecError } from "./engine.ts";

const FRAME_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
const MAX_BLOCK_SIZE = 128 * 1024;

/** A stretch of a payload inside one frame. */
export interface FramePart {
  /** First byte of the part. */
  start: number;
  /** First byte after the part. */
  end: number;
  /** Whether the frame starts here. */
  opens: boolean;
  /** Whether the frame ends here. */
  closes: boolean;
  /** Where each block of the part ends, and a checksum. */
  stops: number[];
}

/** Follows one channel's frames from payload to payload. */
export class ZstdFrames {
  #open = false;
  #checksum = false;

  /**
   * Splits a payload at the frames' ends.
   *
   * @throws {CodecError} If the payload is no zstd, or does not end with a block.
   */
  split(payload: Uint8Array): FramePart[] {
    const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
    const parts: FramePart[] = [];
    let at = 0;
    while (at < payload.length) {
      const start = at;
      const opens = !this.#open;
      if (opens) {
        const skipped = skippableSize(view, at);
        if (skipped > 0) {
          at = this.#within(at + skipped, payload);
          parts.push({ start, end: at, opens, closes: true, stops: [at] });
          continue;
        }
        at = this.#header(view, at, payload);
      }
      const stops: number[] = [];
      at = this.#blocks(at, payload, stops);
      // a header whose blocks come with the next payload
      if (stops.length === 0) stops.push(at);
      parts.push({ start, end: at, opens, closes: !this.#open, stops });
    }
    return parts;
  }

  #within(end: number, payload: Uint8Array): number {
    if (end <= payload.length) return end;
    throw new CodecError("too short", { expected: end, received: payload.length });
  }

  #header(view: DataView, at: number, payload: Uint8Array): number {
    this.#within(at + 5, payload);
    if (view.getUint32(at, true) !== FRAME_MAGIC) {
      throw new CodecError("bad data", { code: "no zstd frame" });
    }
    const descriptor = payload[at + 4]!;
    const singleSegment = (descriptor & 0x20) !== 0;
    this.#checksum = (descriptor & 0x04) !== 0;
    const dictionaryIdSize = [0, 1, 2, 4][descriptor & 3]!;
    const contentSizeSize = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6]!;
    const size = 5 + (singleSegment ? 0 : 1) + dictionaryIdSize + contentSizeSize;
    this.#open = true;
    return this.#within(at + size, payload);
  }

  #blocks(from: number, payload: Uint8Array, stops: number[]): number {
    let at = from;
    while (at < payload.length) {
      this.#within(at + 3, payload);
      const header = payload[at]! | payload[at + 1]! << 8 | payload[at + 2]! << 16;
      const type = header >> 1 & 3;
      const size = header >> 3;
      if (type === 3 || size > MAX_BLOCK_SIZE) {
        throw new CodecError("bad data", { code: "impossible zstd block" });
      }
      // an RLE block is one byte, whatever its size
      at = this.#within(at + 3 + (type === 1 ? 1 : size), payload);
      stops.push(at);
      if ((header & 1) === 0) continue;
      this.#open = false;
      if (!this.#checksum) return at;
      at = this.#within(at + 4, payload);
      stops.push(at);
      return at;
    }
    return at;
  }
}

function skippableSize(view: DataView, at: number): number {
  if (at + 8 > view.byteLength) return 0;
  if ((view.getUint32(at, true) & 0xfffffff0) >>> 0 !== SKIPPABLE_MAGIC) return 0;
  return 8 + view.getUint32(at + 4, true);
}
