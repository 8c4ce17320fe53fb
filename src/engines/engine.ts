/**
 * What an engine is: something that computes the compressed formats. A method
 * knows the wire, an engine knows a library, and any engine reads what any other wrote.
 *
 * @module
 */
import type { MaybePromise } from "../maybe_promise.ts";

/**
 * The compressed formats that methods are made of.
 *
 * | format | what it is |
 * |---|---|
 * | `zlib-stream` | one zlib stream per channel, sync-flushed after each packet |
 * | `zstd-stream` | one or more zstd frames per channel, flushed after each packet |
 * | `deflate-pages` | a raw deflate stream per page |
 * | `zlib-pages` | a zlib stream per page, window of at most 4 KiB |
 * | `gzip-members` | gzip members with QATzip's extra field |
 */
export type CodecFormat =
  | "zlib-stream"
  | "zstd-stream"
  | "deflate-pages"
  | "zlib-pages"
  | "gzip-members";

/** What a codec is opened with. */
export interface CodecOptions {
  /** The guest's page size in bytes. */
  pageSize: number;
  /** Compression level in the terms of the method; decoders ignore it. */
  level: number;
  /** Whether an encoder of pages, or of zstd at level 1, should compress more, more slowly. */
  dense?: boolean | undefined;
  /** Whether software may step in for a device that is busy or fails. Default true. */
  fallback?: boolean | undefined;
  /** Whether a device's full queue is waited for, where software would step in. Default false. */
  waitForQueue?: boolean | undefined;
}

/** What became of the pages on an engine that has a device. */
export interface EngineCounts {
  /** Pages that the device computed. */
  devicePages: number;
  /** Pages that software computed in its place. */
  softwarePages: number;
  /** Pages that were copied: they do not shrink. */
  rawPages: number;
  /** Submissions that found the device's queues full. */
  busyRetries: number;
  /** Most jobs in flight at once. */
  mostInFlight: number;
  /** How often each status came that was no success, by the library's name for it. */
  failures: Record<string, number>;
}

/** Counts of a codec that did nothing yet. */
export const NO_COUNTS: EngineCounts = {
  devicePages: 0,
  softwarePages: 0,
  rawPages: 0,
  busyRetries: 0,
  mostInFlight: 0,
  failures: {},
};

/**
 * Adds counts up.
 *
 * @param all Counts of several codecs; undefined ones are left out.
 * @returns The sum, or undefined where there was nothing to add.
 */
export function sumCounts(all: Iterable<EngineCounts | undefined>): EngineCounts | undefined {
  let sum: EngineCounts | undefined;
  for (const counts of all) {
    if (counts === undefined) continue;
    sum ??= { ...NO_COUNTS, failures: {} };
    sum.devicePages += counts.devicePages;
    sum.softwarePages += counts.softwarePages;
    sum.rawPages += counts.rawPages;
    sum.busyRetries += counts.busyRetries;
    sum.mostInFlight = Math.max(sum.mostInFlight, counts.mostInFlight);
    for (const [name, times] of Object.entries(counts.failures)) {
      sum.failures[name] = (sum.failures[name] ?? 0) + times;
    }
  }
  return sum;
}

/** Turns a packet's pages into one piece of payload. */
export interface PacketEncoder {
  /**
   * Encodes a packet's pages.
   *
   * @param pages Whole pages, one after another.
   * @param out Where the payload goes.
   * @returns Bytes written.
   */
  encode(pages: Uint8Array, out: Uint8Array): MaybePromise<number>;
  /** What became of the pages so far; missing, or undefined, where there is no device. */
  counts?(): EngineCounts | undefined;
  /** Gives everything back; nothing may be called afterwards. */
  close(): void;
}

/** Turns one piece of payload back into pages. */
export interface PacketDecoder {
  /**
   * Decodes a packet's payload.
   *
   * @param payload The payload, all of which must be used.
   * @param out Where the pages go, exactly as long as they are.
   * @throws {CodecError} When the payload does not give exactly `out.length` bytes.
   */
  decode(payload: Uint8Array, out: Uint8Array): MaybePromise<void>;
  /** What became of the pages so far; missing, or undefined, where there is no device. */
  counts?(): EngineCounts | undefined;
  /** Gives everything back; nothing may be called afterwards. */
  close(): void;
}

/** Compresses each page on its own. */
export interface PageEncoder {
  /**
   * Encodes a packet's pages, one by one.
   *
   * @param pages Whole pages, one after another.
   * @param out Where the compressed pages go, one after another: `pages.length` bytes of room.
   * @param lengths Gets each page's length; a page that would not shrink is copied and gets the page size.
   * @returns Bytes written, the sum of `lengths`.
   */
  encode(pages: Uint8Array, out: Uint8Array, lengths: Uint32Array): MaybePromise<number>;
  /** What became of the pages so far; missing, or undefined, where there is no device. */
  counts?(): EngineCounts | undefined;
  /** Gives everything back; nothing may be called afterwards. */
  close(): void;
}

/** Decompresses each page on its own. */
export interface PageDecoder {
  /**
   * Decodes a packet's pages, one by one.
   *
   * @param payload The compressed pages, one after another.
   * @param lengths Their lengths, which add up to `payload.length`; the page size means a raw page.
   * @param out Where the pages go, `lengths.length` whole pages.
   * @throws {CodecError} When a page does not give exactly a page, or does not use all its bytes.
   */
  decode(payload: Uint8Array, lengths: Uint32Array, out: Uint8Array): MaybePromise<void>;
  /** What became of the pages so far; missing, or undefined, where there is no device. */
  counts?(): EngineCounts | undefined;
  /** Gives everything back; nothing may be called afterwards. */
  close(): void;
}

/** How a codec can fail on what it is given. */
export type CodecFault = "bad data" | "too short" | "too long" | "left-over input";

/** A codec's failure; the channel that called it adds where. */
export class CodecError extends Error {
  /** What is wrong. */
  readonly fault: CodecFault;
  /** Ordinal of the page in its packet, where the format has pages. */
  readonly page: number | undefined;
  /** Bytes that should have come out, or gone in for left-over input. */
  readonly expected: number | undefined;
  /** Bytes that did. */
  readonly received: number | undefined;
  /** The library's own word for it. */
  readonly code: string | undefined;

  /**
   * Makes an error of its facts.
   *
   * @param fault What is wrong.
   * @param facts How much was expected and came, in which page, and the library's code.
   */
  constructor(
    fault: CodecFault,
    facts: {
      page?: number | undefined;
      expected?: number;
      received?: number;
      code?: string;
    } = {},
  ) {
    super(fault);
    this.name = "CodecError";
    this.fault = fault;
    this.page = facts.page;
    this.expected = facts.expected;
    this.received = facts.received;
    this.code = facts.code;
  }
}

/** A library that computes some of the formats. */
export interface Engine {
  /** Its name, as `--engine` takes it. */
  readonly name: string;
  /** Whether a device computes. */
  readonly isDevice?: boolean;
  /** The formats it can compress into, here. */
  readonly encodes: readonly CodecFormat[];
  /** The formats it can decompress, here. */
  readonly decodes: readonly CodecFormat[];
  /** Opens an encoder of whole packets. */
  packetEncoder(format: CodecFormat, options: CodecOptions): PacketEncoder;
  /** Opens a decoder of whole packets. */
  packetDecoder(format: CodecFormat, options: CodecOptions): PacketDecoder;
  /** Opens an encoder of single pages. */
  pageEncoder(format: CodecFormat, options: CodecOptions): PageEncoder;
  /** Opens a decoder of single pages. */
  pageDecoder(format: CodecFormat, options: CodecOptions): PageDecoder;
}
