/** Channels' payloads as they are sent by this module and by others, and an own way to read them. */
import { Buffer } from "node:buffer";
import zlib from "node:zlib";
import type { Method } from "../../src/methods/method.ts";
import { methodByName } from "../../src/methods/registry.ts";
import { joined, PAGE_KINDS, payloadOf, payloadsOf, splitPages } from "../methods/_pages.ts";
import type { Random } from "../_random.ts";

/** The methods' names. */
export const METHODS = ["none", "zlib", "zstd", "qpl", "uadk", "qatzip"] as const;

const KINDS = Object.keys(PAGE_KINDS).filter((kind) => !kind.startsWith("just"));

/** A page of any kind. */
export function anyPage(pageSize: number, random: Random): Uint8Array {
  return PAGE_KINDS[random.pick(KINDS)]!(pageSize, random);
}

/** Makes the payloads of one channel's packets, in order. */
type Encode = (packets: Uint8Array[]) => Promise<Uint8Array[]> | Uint8Array[];

const { Z_SYNC_FLUSH, Z_FULL_FLUSH, Z_FIXED, Z_HUFFMAN_ONLY, ZSTD_e_flush } = zlib.constants;
const { ZSTD_c_checksumFlag, ZSTD_c_compressionLevel, ZSTD_c_windowLog } = zlib.constants;

/** A stock stream that never ends, flushed after each packet, as QEMU uses it. */
function flushed(open: () => zlib.Deflate | zlib.ZstdCompress, flush: number): Encode {
  return async (packets) => {
    const stream = open() as zlib.Deflate;
    const chunks: Uint8Array[] = [];
    stream.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    const payloads = [];
    for (const pages of packets) {
      stream.write(pages);
      await new Promise<void>((done) => stream.flush(flush, done));
      payloads.push(new Uint8Array(Buffer.concat(chunks.splice(0))));
    }
    stream.destroy();
    return payloads;
  };
}

function deflated(options: zlib.ZlibOptions, flush = Z_SYNC_FLUSH): Encode {
  return flushed(() => zlib.createDeflate(options), flush);
}

function zstdFlushed(params: Record<number, number>): Encode {
  return flushed(() => zlib.createZstdCompress({ params }), ZSTD_e_flush);
}

function eachPage(pageSize: number, encode: (page: Uint8Array) => Uint8Array): Encode {
  return (packets) =>
    packets.map((pages) =>
      payloadOf(
        cut(pages, pageSize).map((page) => {
          const packed = encode(page);
          return packed.length < pageSize ? packed : page;
        }),
      )
    );
}

/** Frames of so many bytes of pages, which need not be whole ones. */
function frames(size: number, params: Record<number, number>): Encode {
  return (packets) =>
    packets.map((pages) => {
      const parts = cut(pages, size).map((part) => zlib.zstdCompressSync(part, { params }));
      // a skippable frame and an empty one around them
      const skippable = Uint8Array.of(0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3);
      return joined([skippable, ...parts, zlib.zstdCompressSync(new Uint8Array(0))]);
    });
}

function cut(bytes: Uint8Array, size: number): Uint8Array[] {
  const count = Math.ceil(bytes.length / size);
  return Array.from({ length: count }, (_, i) => bytes.subarray(i * size, (i + 1) * size));
}

/** What others than this module's engines send in each method. */
const FOREIGN: Record<string, (pageSize: number) => Encode[]> = {
  none: () => [],
  zlib: () => [
    deflated({ level: 1 }),
    deflated({ level: 9 }),
    deflated({ level: 0 }, Z_FULL_FLUSH),
    deflated({ level: 6, strategy: Z_FIXED }),
    deflated({ windowBits: 9, memLevel: 1 }),
  ],
  zstd: () => [
    zstdFlushed({}),
    zstdFlushed({ [ZSTD_c_checksumFlag]: 1 }),
    zstdFlushed({ [ZSTD_c_compressionLevel]: -5 }),
    zstdFlushed({ [ZSTD_c_windowLog]: 10 }),
    frames(3000, { [ZSTD_c_checksumFlag]: 1 }),
    frames(4096, {}),
    frames(65536, { [ZSTD_c_compressionLevel]: 12 }),
  ],
  qpl: (pageSize) => [
    eachPage(pageSize, (page) => zlib.deflateRawSync(page, { level: 9, windowBits: 12 })),
    eachPage(pageSize, (page) => zlib.deflateRawSync(page, { strategy: Z_HUFFMAN_ONLY })),
    eachPage(pageSize, (page) => zlib.deflateRawSync(page, { memLevel: 1, windowBits: 9 })),
  ],
  uadk: (pageSize) => [
    eachPage(pageSize, (page) => zlib.deflateSync(page, { level: 9, windowBits: 12 })),
    eachPage(pageSize, (page) => zlib.deflateSync(page, { strategy: Z_FIXED, windowBits: 9 })),
  ],
  qatzip: () => [(packets) => packets.map((pages) => zlib.gzipSync(pages))],
};

/** The payloads of a channel's packets, by this module or as another sends them. */
export async function encodeChannel(
  name: string,
  packets: Uint8Array[],
  pageSize: number,
  random: Random,
): Promise<Uint8Array[]> {
  if (packets.length === 0) return [];
  const method = methodByName(name)!;
  const own: Encode = () => payloadsOf(method, packets, ownOptions(method, pageSize, random));
  const foreign = FOREIGN[name]!(pageSize);
  // half of them, as the streams of others take their time
  const isOwn = foreign.length === 0 || random.below(2) === 0;
  const payloads = await (isOwn ? own : random.pick(foreign))(packets);
  return payloads.map((payload) => new Uint8Array(payload));
}

function ownOptions({ levels }: Method, pageSize: number, random: Random) {
  const most = Math.min(9, levels?.max ?? 0);
  const level = levels ? levels.min + random.below(most - levels.min + 1) : 0;
  return { pageSize, level, dense: random.below(2) === 0, uadkCompress: random.below(4) > 0 };
}

/**
 * Reads a channel's payloads in the plainest way there is, to compare with. It need not refuse
 * all that is wrong: it is asked about what was taken.
 *
 * @returns The pages, or undefined where there is no plain way (zstd frames that go on).
 * @throws If it cannot be read, or gives another size.
 */
export function decodeChannel(
  method: string,
  payloads: readonly Uint8Array[],
  sizes: readonly number[],
  pageSize: number,
): Uint8Array | undefined {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const pages = DECODERS[method]!(payloads, sizes, pageSize);
  if (pages !== undefined && pages.length !== total) {
    throw new Error(`the payloads hold ${pages.length} bytes and not ${total}`);
  }
  return pages;
}

type Decode = (
  payloads: readonly Uint8Array[],
  sizes: readonly number[],
  pageSize: number,
) => Uint8Array | undefined;

/** Inflates each page; its size is checked page by page. */
function inflatePages(inflate: (bytes: Uint8Array) => Uint8Array): Decode {
  return (payloads, sizes, pageSize) =>
    joined(
      payloads.flatMap((payload, i) =>
        splitPages(payload, sizes[i]! / pageSize).map((packed) => {
          const page = packed.length === pageSize ? packed : inflate(packed);
          if (page.length === pageSize) return page;
          throw new Error(`a page is of ${page.length} bytes`);
        })
      ),
    );
}

const DECODERS: Record<string, Decode> = {
  none: (payloads) => joined(payloads),
  zlib: (payloads) =>
    zlib.inflateRawSync(joined(payloads).subarray(2), { finishFlush: Z_SYNC_FLUSH }),
  zstd: () => undefined,
  qpl: inflatePages((bytes) => zlib.inflateRawSync(bytes)),
  uadk: inflatePages((bytes) => zlib.inflateSync(bytes)),
  qatzip: (payloads) => joined(payloads.map((payload) => zlib.gunzipSync(payload))),
};
