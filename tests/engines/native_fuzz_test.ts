/**
 * Damaged payloads through the native decoders: whole pages or a refusal, not a byte written
 * outside, and never other pages than the runtime's own engine gives. FUZZ_CASES makes it longer.
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import zlib from "node:zlib";
import { assert } from "@std/assert";
import { CodecError } from "../../src/engines/engine.ts";
import { ProtocolError } from "../../src/errors.ts";
import { MAX_PAYLOAD_SIZE, type Method } from "../../src/methods/method.ts";
import {
  assertReceives,
  joined,
  PAGE_KINDS,
  payloadOf,
  payloadsOf,
  receiving,
  same,
} from "../methods/_pages.ts";
import { Random } from "../_random.ts";
import { type MethodEngines, METHODS, testOf, using } from "./_native.ts";

const CASES = Number(process.env["FUZZ_CASES"] ?? 300);
const SEED = Number(process.env["FUZZ_SEED"] ?? 1);
const KINDS = Object.keys(PAGE_KINDS).filter((kind) => !kind.startsWith("just"));

const {
  Z_SYNC_FLUSH,
  Z_FULL_FLUSH,
  Z_FIXED,
  Z_HUFFMAN_ONLY,
  ZSTD_e_flush,
  ZSTD_c_checksumFlag,
  ZSTD_c_compressionLevel,
  ZSTD_c_windowLog,
} = zlib.constants;

/** A channel's packets, and one that makes payloads of them. */
type MakeChannel = (packets: Uint8Array[], random: Random) => Promise<Uint8Array[]> | Uint8Array[];

/** A stock stream that never ends, flushed after each packet, as QEMU uses it. */
function flushed(open: () => zlib.Deflate | zlib.ZstdCompress, flush: number): MakeChannel {
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

function eachPage(pageSize: number, encode: (page: Uint8Array) => Uint8Array): MakeChannel {
  return (packets) =>
    packets.map((pages) => {
      const streams = [];
      for (let at = 0; at < pages.length; at += pageSize) {
        const page = pages.subarray(at, at + pageSize);
        const packed = encode(page);
        streams.push(packed.length < pageSize ? packed : page);
      }
      return payloadOf(streams);
    });
}

/** Frames of so many bytes of pages, which need not be whole ones. */
function frames(size: number, params: Record<number, number>): MakeChannel {
  return (packets) =>
    packets.map((pages) => {
      const count = Math.ceil(pages.length / size);
      const parts = Array.from(
        { length: count },
        (_, i) => zlib.zstdCompressSync(pages.subarray(i * size, (i + 1) * size), { params }),
      );
      // a skippable frame and an empty one around them
      const skippable = Uint8Array.of(0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3);
      return joined([skippable, ...parts, zlib.zstdCompressSync(new Uint8Array(0))]);
    });
}

/** What others than this module's engines send in each method. */
const FOREIGN: Record<string, (pageSize: number) => MakeChannel[]> = {
  zlib: () => [
    flushed(() => zlib.createDeflate({ level: 1 }), Z_SYNC_FLUSH),
    flushed(() => zlib.createDeflate({ level: 9 }), Z_SYNC_FLUSH),
    flushed(() => zlib.createDeflate({ level: 0 }), Z_FULL_FLUSH),
    flushed(() => zlib.createDeflate({ level: 6, strategy: Z_FIXED }), Z_SYNC_FLUSH),
    flushed(() => zlib.createDeflate({ windowBits: 9, memLevel: 1 }), Z_SYNC_FLUSH),
  ],
  zstd: () => [
    flushed(() => zlib.createZstdCompress(), ZSTD_e_flush),
    flushed(() => zstdStream({ [ZSTD_c_checksumFlag]: 1 }), ZSTD_e_flush),
    flushed(() => zstdStream({ [ZSTD_c_compressionLevel]: -5 }), ZSTD_e_flush),
    flushed(() => zstdStream({ [ZSTD_c_windowLog]: 10 }), ZSTD_e_flush),
    frames(3000, { [ZSTD_c_checksumFlag]: 1 }),
    frames(4096, {}),
    frames(65536, { [ZSTD_c_compressionLevel]: 12 }),
  ],
  qpl: (pageSize) => [
    eachPage(pageSize, (page) => zlib.deflateRawSync(page, { level: 9 })),
    eachPage(pageSize, (page) => zlib.deflateRawSync(page, { strategy: Z_HUFFMAN_ONLY })),
    eachPage(pageSize, (page) => zlib.deflateRawSync(page, { memLevel: 1, windowBits: 9 })),
  ],
  uadk: (pageSize) => [
    eachPage(pageSize, (page) => zlib.deflateSync(page, { level: 9 })),
    eachPage(pageSize, (page) => zlib.deflateSync(page, { strategy: Z_FIXED, windowBits: 9 })),
  ],
  qatzip: () => [(packets) => packets.map((pages) => zlib.gzipSync(pages))],
};

function zstdStream(params: Record<number, number>): zlib.ZstdCompress {
  return zlib.createZstdCompress({ params });
}

interface Channel {
  pageSize: number;
  packets: Uint8Array[];
  payloads: Uint8Array[];
}

async function validChannel({ method, encoders }: MethodEngines, random: Random): Promise<Channel> {
  const pageSize = random.pick([4096, 4096, 4096, 65536]);
  const most = random.pick(pageSize === 4096 ? [4, 4, 4, 48] : [2]);
  const packets = Array.from({ length: 1 + random.below(4) }, () => {
    const count = 1 + random.below(most);
    const page = () => PAGE_KINDS[random.pick(KINDS)]!(pageSize, random);
    return joined(Array.from({ length: count }, page));
  });
  const { levels } = method;
  const level = levels ? levels.min + random.below(Math.min(9, levels.max) - levels.min + 1) : 0;
  const options = { pageSize, level, dense: random.below(2) === 0, uadkCompress: true };
  const own = encoders.map((encoder): MakeChannel => () =>
    payloadsOf(method, packets, using(encoder, options))
  );
  const payloads = await random.pick([...own, ...FOREIGN[method.name]!(pageSize)])(packets, random);
  return { pageSize, packets, payloads: payloads.map((payload) => new Uint8Array(payload)) };
}

/** Damages bytes in one of many ways. */
function damaged(bytes: Uint8Array, random: Random): Uint8Array {
  const at = random.below(bytes.length);
  const copy = bytes.slice();
  switch (random.below(9)) {
    case 0:
      return bytes.slice(0, at);
    case 1:
      return bytes.slice(at + 1);
    case 2:
      return joined([bytes.subarray(0, at), bytes.subarray(at + 1 + random.below(16))]);
    case 3:
      return joined([
        bytes.subarray(0, at),
        random.bytes(1 + random.below(16)),
        bytes.subarray(at),
      ]);
    case 4:
      return joined([bytes, bytes.subarray(0, at)]);
    case 5:
      return joined([bytes.subarray(0, random.below(40)), random.bytes(1 + random.below(8000))]);
    case 6:
      return copy.fill(random.pick([0x00, 0xff, 0x55]), at, at + 1 + random.below(32));
    case 7:
      copy[random.below(Math.min(40, copy.length))]! ^= 1 << random.below(8);
      return copy;
    default:
      for (let i = 1 + random.below(8); i > 0; i--) {
        copy[random.below(copy.length)]! ^= 1 << random.below(8);
      }
      return copy;
  }
}

/** The packets that an engine gives, up to the first it refuses; any other error goes on. */
async function received(
  method: Method,
  engine: string,
  { pageSize, packets, payloads }: Channel,
): Promise<Uint8Array[]> {
  const end = await receiving(method, using(engine, { pageSize }));
  const got = [];
  try {
    for (const [i, payload] of payloads.entries()) {
      got.push((await end.receive(payload, packets[i]!.length)).slice());
    }
  } catch (error) {
    if (!(error instanceof CodecError || error instanceof ProtocolError)) throw error;
  } finally {
    end.cleanup();
  }
  return got;
}

for (const entry of METHODS) {
  const { method, decoders } = entry;
  const native = decoders[1]!;

  testOf([native], `${method.name} through ${native} reads what anyone may send`, async () => {
    for (let i = 0; i < CASES / 5; i++) {
      const channel = await validChannel(entry, new Random(SEED * 0x1_0001 + i));
      const { pageSize, packets, payloads } = channel;
      try {
        await assertReceives(method, payloads, packets, using(native, { pageSize }));
      } catch (error) {
        throw new Error(`FUZZ_SEED=${SEED}, case ${i}: ${error}`, { cause: error });
      }
    }
  });

  testOf([native], `${method.name} through ${native} gives true pages or refuses`, async () => {
    let refused = 0;
    for (let i = 0; i < CASES; i++) {
      const random = new Random(SEED * 0x1_0001 + i);
      const channel = await validChannel(entry, random);
      const which = random.below(channel.payloads.length);
      for (let n = random.below(2); n >= 0; n--) {
        const bytes = channel.payloads[which]!;
        if (bytes.length > 0) channel.payloads[which] = damaged(bytes, random);
      }
      if (channel.payloads[which]!.length > MAX_PAYLOAD_SIZE) continue;
      const where = `FUZZ_SEED=${SEED}, case ${i}`;
      try {
        const got = await received(method, native, channel);
        const own = await received(method, "builtin", channel);
        if (got.length < channel.payloads.length) refused++;
        for (let j = 0; j < Math.min(got.length, own.length); j++) {
          assert(same(got[j]!, own[j]!), `packet ${j} is not what builtin gives`);
        }
      } catch (error) {
        throw new Error(`${where}: ${error}`, { cause: error });
      }
    }
    // damage to raw pages is no damage to the format
    assert(refused > CASES / 4, `only ${refused} of ${CASES} were refused`);
  });
}
