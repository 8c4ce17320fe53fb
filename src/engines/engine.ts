/**
 * What an engine is: something that computes the compressed formats. A method
 * knows the wire, an engine knows a library, and any engine reads what any other wrote.
 *
 * @module
 */

/** A value, or a promise of it: engines and transports may answer with either. */
export type MaybePromise<T> = T | Promise<T>;

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
  /** Whether an encoder of pages should compress more, more slowly. */
  dense?: boolean | undefined;
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
