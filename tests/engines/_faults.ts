/** What a native decoder must refuse, as what: data for native_faults_test.ts. */
import zlib from "node:zlib";
import type { CodecFault } from "../../src/engines/engine.ts";
import { joined, pageOf, payloadOf } from "../methods/_pages.ts";

const { Z_SYNC_FLUSH, Z_FIXED, ZSTD_c_checksumFlag } = zlib.constants;
const TEXT = pageOf("text");
const NOISE = pageOf("random");
const ONE = Uint8Array.of(7);
/** A sync flush's end. */
export const FLUSH = Uint8Array.of(0x00, 0x00, 0xff, 0xff);
const ZSTD_MAGIC = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd);

/** The first packet of a zlib stream. */
export function flushed(pages: Uint8Array): Uint8Array {
  const body = zlib.deflateRawSync(pages, { finishFlush: Z_SYNC_FLUSH });
  return joined([Uint8Array.of(0x78, 0x01), body]);
}

/** A zstd frame. */
export function frame(pages: Uint8Array, checksum = 0): Uint8Array {
  return zlib.zstdCompressSync(pages, { params: { [ZSTD_c_checksumFlag]: checksum } });
}

/** A copy with one byte changed; from the end where `at` is negative. */
function changed(bytes: Uint8Array, at: number, byte: number): Uint8Array {
  return bytes.slice().with(at < 0 ? at + bytes.length : at, byte);
}

/** A gzip member, with QATzip's extra field or what a test puts there. */
function member(
  source: Uint8Array,
  told: { source?: number; deflated?: number; isize?: number; crc?: number } = {},
): Uint8Array {
  const body = zlib.deflateRawSync(source);
  const { deflated = body.length, isize = source.length, crc = zlib.crc32(source) } = told;
  const head = new Uint8Array(24);
  head.set([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 12, 0, 0x51, 0x5a, 8, 0]);
  const tail = new Uint8Array(8);
  new DataView(head.buffer).setUint32(16, told.source ?? source.length, true);
  new DataView(head.buffer).setUint32(20, deflated, true);
  new DataView(tail.buffer).setUint32(0, crc, true);
  new DataView(tail.buffer).setUint32(4, isize, true);
  return joined([head, body, tail]);
}

/** A payload that is wrong. */
export interface FaultCase {
  what: string;
  payload: Uint8Array;
  /** What the native engine says. */
  fault: CodecFault | readonly CodecFault[];
  /** Bytes of pages the packet is said to have; one page unless told. */
  size?: number;
  page?: number;
  /** What the runtime's own engine says where it can tell more. */
  builtin?: CodecFault;
}

/** A deflate block of the type that there is not. */
export const RESERVED_BLOCK = Uint8Array.of(0x07, 0x00, 0x00);
/** A fixed block of literal 0, then a match of 3 bytes 2 bytes back. */
const TOO_FAR = Uint8Array.of(0x63, 0x00, 0x12, 0x00, 0x00);

/** Faults of one page, for pages as raw deflate or as zlib streams. */
function pageCases(
  deflate: (page: Uint8Array, options?: zlib.ZlibOptions) => Uint8Array,
): FaultCase[] {
  const stream = deflate(TEXT);
  const open = deflate(TEXT, { finishFlush: Z_SYNC_FLUSH });
  // libdeflate reads zeros behind the end before it sees that there is none
  const cut = { fault: ["bad data", "too long"], builtin: "too short" } as const;
  return [
    { what: "a page of one byte less", payload: deflate(TEXT.subarray(1)), fault: "too short" },
    { what: "an empty stream", payload: deflate(new Uint8Array(0)), fault: "too short" },
    { what: "a page of one byte more", payload: deflate(joined([TEXT, ONE])), fault: "too long" },
    { what: "a byte behind a stream", payload: joined([stream, ONE]), fault: "left-over input" },
    { what: "two streams", payload: joined([stream, stream]), fault: "left-over input" },
    { what: "a stream without its last byte", payload: stream.subarray(0, -1), ...cut },
    { what: "a stream of one byte", payload: stream.subarray(0, 1), ...cut },
    { what: "a stream without a final block", payload: open, ...cut },
  ];
}

/** The same page, alone and behind a good one. */
function inPackets(cases: FaultCase[]): FaultCase[] {
  return cases.flatMap(({ payload, ...rest }) => [
    { ...rest, payload: payloadOf([payload]), page: 0 },
    {
      ...rest,
      what: `${rest.what}, third of four`,
      payload: payloadOf([NOISE, NOISE, payload, NOISE]),
      page: 2,
      size: 4 * 4096,
    },
  ]);
}

/** Payloads to refuse, by method. */
export const FAULTS: Record<string, FaultCase[]> = {
  zlib: [
    { what: "no zlib header", payload: joined([NOISE, FLUSH]), fault: "bad data" },
    { what: "one byte", payload: Uint8Array.of(0x78), fault: "bad data" },
    { what: "a header and nothing else", payload: Uint8Array.of(0x78, 0x01), fault: "bad data" },
    { what: "wrong check bits", payload: changed(flushed(TEXT), 1, 0x02), fault: "bad data" },
    {
      what: "a method other than deflate",
      payload: joined([Uint8Array.of(0x79, 0x18), flushed(TEXT).subarray(2)]),
      fault: "bad data",
    },
    {
      what: "a window above 32 KiB",
      payload: joined([Uint8Array.of(0x88, 0x1c), flushed(TEXT).subarray(2)]),
      fault: "bad data",
    },
    {
      what: "a header that asks for a dictionary",
      payload: joined([Uint8Array.of(0x78, 0x20, 1, 2, 3, 4), flushed(TEXT).subarray(2)]),
      fault: "bad data",
    },
    {
      what: "a reserved block type",
      payload: joined([Uint8Array.of(0x78, 0x01), RESERVED_BLOCK, FLUSH]),
      fault: "bad data",
    },
    {
      what: "a distance beyond the stream's start",
      payload: joined([Uint8Array.of(0x78, 0x01), TOO_FAR, FLUSH]),
      fault: "bad data",
    },
    {
      what: "a packet that is not flushed",
      payload: flushed(TEXT).subarray(0, -5),
      fault: "bad data",
    },
    { what: "a byte behind the flush", payload: joined([flushed(TEXT), ONE]), fault: "bad data" },
    { what: "a page too few", payload: flushed(TEXT), size: 8192, fault: "too short" },
    {
      what: "a byte too few",
      payload: flushed(TEXT.subarray(1)),
      fault: "too short",
    },
    { what: "a byte too many", payload: flushed(joined([TEXT, ONE])), fault: "too long" },
    { what: "a page too many", payload: flushed(joined([TEXT, NOISE])), fault: "too long" },
    {
      what: "a stream that ends, and more",
      payload: joined([Uint8Array.of(0x78, 0x01), zlib.deflateRawSync(TEXT), FLUSH]),
      fault: "left-over input",
    },
  ],
  zstd: [
    { what: "no frame", payload: NOISE, fault: "bad data" },
    { what: "a broken block", payload: frame(TEXT).slice().fill(0xff, 16, 48), fault: "bad data" },
    { what: "a wrong checksum", payload: changed(frame(NOISE, 1), -1, 0x5a), fault: "bad data" },
    {
      what: "a reserved bit in the descriptor",
      payload: changed(frame(NOISE), 4, frame(NOISE)[4]! | 8),
      fault: "bad data",
    },
    { what: "a page too few", payload: frame(TEXT), size: 8192, fault: "too short" },
    { what: "a byte too few", payload: frame(TEXT.subarray(1)), fault: "too short" },
    { what: "a byte too many", payload: frame(joined([TEXT, ONE])), fault: "too long" },
    { what: "a second frame", payload: joined([frame(TEXT), frame(ONE)]), fault: "too long" },
    {
      what: "noise behind the frame",
      payload: joined([frame(TEXT), NOISE.subarray(0, 16)]),
      fault: "bad data",
    },
    {
      what: "the start of a frame behind the frame",
      payload: joined([frame(TEXT), ZSTD_MAGIC]),
      fault: "too short",
    },
  ],
  qpl: inPackets([
    ...pageCases((page, options) => zlib.deflateRawSync(page, options)),
    ...pageCases((page, options) => zlib.deflateRawSync(page, { strategy: Z_FIXED, ...options }))
      .map(({ what, ...rest }) => ({ ...rest, what: `${what}, of fixed blocks` })),
    { what: "a reserved block type", payload: RESERVED_BLOCK, fault: "bad data" },
    { what: "a distance beyond the page's start", payload: TOO_FAR, fault: "bad data" },
    { what: "a zlib stream", payload: zlib.deflateSync(TEXT), fault: "bad data" },
  ]),
  uadk: inPackets([
    ...pageCases((page, options) => zlib.deflateSync(page, options)),
    {
      what: "a wrong Adler-32",
      payload: changed(zlib.deflateSync(TEXT), -1, zlib.deflateSync(TEXT).at(-1)! ^ 1),
      fault: "bad data",
    },
    {
      what: "wrong check bits",
      payload: changed(zlib.deflateSync(TEXT), 1, 0x9d),
      fault: "bad data",
    },
    {
      what: "a dictionary",
      payload: joined([Uint8Array.of(0x78, 0x20, 1, 2, 3, 4), zlib.deflateSync(TEXT).subarray(2)]),
      fault: "bad data",
    },
    { what: "a raw deflate stream", payload: zlib.deflateRawSync(TEXT), fault: "bad data" },
    { what: "a gzip member", payload: zlib.gzipSync(TEXT), fault: "bad data" },
  ]),
  qatzip: [
    { what: "no gzip magic", payload: changed(member(TEXT), 1, 0x8c), fault: "bad data" },
    { what: "reserved flags", payload: changed(member(TEXT), 3, 0x24), fault: "bad data" },
    {
      what: "an extra field longer than its header",
      payload: changed(member(TEXT), 14, 9),
      fault: "bad data",
    },
    {
      what: "an extra field longer than the payload",
      payload: changed(member(TEXT), 11, 0xff),
      fault: "bad data",
    },
    { what: "a name without an end", payload: namedWithoutEnd(), fault: "bad data" },
    { what: "a reserved block type", payload: changed(member(NOISE), 24, 7), fault: "bad data" },
    { what: "a wrong CRC-32", payload: member(TEXT, { crc: 1 }), fault: "bad data" },
    { what: "a wrong ISIZE", payload: member(TEXT, { isize: 4095 }), fault: "bad data" },
    { what: "a wrong source size", payload: member(TEXT, { source: 4097 }), fault: "bad data" },
    { what: "a deflate size of 0", payload: member(TEXT, { deflated: 0 }), fault: "bad data" },
    { what: "a page too few", payload: member(TEXT), size: 8192, fault: "too short" },
    { what: "a byte too many", payload: member(joined([TEXT, ONE])), fault: "too long" },
    {
      what: "a byte too many in the second member",
      payload: joined([member(TEXT.subarray(1)), member(Uint8Array.of(1, 2))]),
      fault: "too long",
    },
    { what: "a byte behind it", payload: joined([member(TEXT), ONE]), fault: "left-over input" },
    {
      what: "an empty member behind the last page",
      payload: joined([member(TEXT), member(new Uint8Array(0))]),
      fault: "left-over input",
    },
    { what: "half a header", payload: member(TEXT).subarray(0, 9), fault: "too short" },
    { what: "half an extra field", payload: member(TEXT).subarray(0, 20), fault: "bad data" },
    { what: "half a trailer", payload: member(TEXT).subarray(0, -4), fault: "too short" },
    {
      what: "half a stream",
      payload: member(TEXT).subarray(0, 200),
      fault: "bad data",
      builtin: "too short",
    },
  ],
};

function namedWithoutEnd(): Uint8Array {
  const head = Uint8Array.of(0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 255);
  return joined([head, new Uint8Array(64).fill(0x41)]);
}
