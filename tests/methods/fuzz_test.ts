/** Random and damaged payloads: a receiver gives whole pages or one of two errors, nothing else. */
import process from "node:process";
import { test } from "node:test";
import zlib from "node:zlib";
import { assert } from "@std/assert";
import { CodecError } from "../../src/engines/engine.ts";
import { ProtocolError } from "../../src/errors.ts";
import type { Method } from "../../src/methods/method.ts";
import { methodByName } from "../../src/methods/registry.ts";
import { Random } from "../_random.ts";
import { joined, PAGE_KINDS, payloadOf, payloadsOf, receiving } from "./_pages.ts";

const CASES = Number(process.env["FUZZ_CASES"] ?? 300);
const SEED = Number(process.env["FUZZ_SEED"] ?? 1);
/** Bun ends a test after 5 s unless told otherwise. */
const TIMEOUT = 10_000 + 100 * CASES;
const HANG = 5_000;
const PAGE_SIZE = 4096;

/** The payloads of a channel in order, each of so many pages. */
type Channel = { payload: Uint8Array; pages: number }[];
type MakeChannel = (packets: Uint8Array[], random: Random) => Promise<Uint8Array[]> | Uint8Array[];

/** Numbers that are likely to be on the wrong side of a check. */
const EDGES = [0, 1, 4, 0x7f, 0x80, 0xff, 0xfff, 0x1000, 0x1001, 0xffff, 0x7fff_ffff, 0xffff_ffff];

function flushed(open: () => zlib.Deflate | zlib.ZstdCompress, kind: number): MakeChannel {
  return async (packets) => {
    const stream = open() as zlib.Deflate;
    const payloads = [];
    let chunks: Uint8Array[] = [];
    stream.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    for (const pages of packets) {
      chunks = [];
      stream.write(pages);
      await new Promise<void>((done) => stream.flush(kind, done));
      payloads.push(joined(chunks));
    }
    stream.destroy();
    return payloads;
  };
}

function eachPage(encode: (page: Uint8Array) => Uint8Array): MakeChannel {
  return (packets) =>
    packets.map((pages) => {
      const streams = [];
      for (let at = 0; at < pages.length; at += PAGE_SIZE) {
        const page = pages.subarray(at, at + PAGE_SIZE);
        const packed = encode(page);
        streams.push(packed.length < PAGE_SIZE ? packed : page);
      }
      return payloadOf(streams);
    });
}

const { Z_SYNC_FLUSH, Z_FULL_FLUSH, ZSTD_e_flush, ZSTD_c_checksumFlag } = zlib.constants;
const checked = { params: { [ZSTD_c_checksumFlag]: 1 } };

/** What others may send in each method, beside what is sent here. */
const FOREIGN: Record<string, MakeChannel[]> = {
  none: [],
  zlib: [
    flushed(() => zlib.createDeflate({ level: 6 }), Z_SYNC_FLUSH),
    flushed(() => zlib.createDeflate({ level: 0 }), Z_FULL_FLUSH),
  ],
  zstd: [
    flushed(() => zlib.createZstdCompress(), ZSTD_e_flush),
    (packets) => packets.map((pages) => zlib.zstdCompressSync(pages, checked)),
  ],
  qpl: [eachPage((page) => zlib.deflateRawSync(page, { level: 9 }))],
  uadk: [eachPage((page) => zlib.deflateSync(page, { level: 9 }))],
  qatzip: [(packets) => packets.map((pages) => zlib.gzipSync(pages))],
};

async function validChannel(method: Method, random: Random): Promise<Channel> {
  // a few large packets: some runtimes fail in their own way behind the first 16 KiB of output
  const most = random.pick([4, 4, 4, 4, 64]);
  const counts = Array.from({ length: 1 + random.below(3) }, () => 1 + random.below(most));
  const kinds = Object.keys(PAGE_KINDS).filter((kind) => !kind.startsWith("just"));
  const packets = counts.map((count) =>
    joined(Array.from({ length: count }, () => PAGE_KINDS[random.pick(kinds)]!(PAGE_SIZE, random)))
  );
  const own: MakeChannel = () => payloadsOf(method, packets, { uadkCompress: true });
  const payloads = await random.pick([own, ...FOREIGN[method.name]!])(packets, random);
  return payloads.map((payload, i) => ({ payload: new Uint8Array(payload), pages: counts[i]! }));
}

type Damage = (bytes: Uint8Array, random: Random) => Uint8Array;

const DAMAGES: Damage[] = [
  function flipBits(bytes, random) {
    for (let i = 1 + random.below(8); i > 0; i--) {
      const at = random.below(bytes.length);
      bytes[at]! ^= 1 << random.below(8);
    }
    return bytes;
  },
  function flipBitAtStart(bytes, random) {
    bytes[random.below(Math.min(40, bytes.length))]! ^= 1 << random.below(8);
    return bytes;
  },
  function setBytes(bytes, random) {
    const at = random.below(bytes.length);
    bytes.fill(random.pick([0x00, 0xff, 0x55]), at, at + 1 + random.below(32));
    return bytes;
  },
  function cutEnd(bytes, random) {
    return bytes.subarray(0, random.below(bytes.length));
  },
  function cutStart(bytes, random) {
    return bytes.subarray(1 + random.below(bytes.length));
  },
  function cutInside(bytes, random) {
    const at = random.below(bytes.length);
    return joined([bytes.subarray(0, at), bytes.subarray(at + 1 + random.below(16))]);
  },
  function insert(bytes, random) {
    const at = random.below(bytes.length + 1);
    const more = random.bytes(1 + random.below(16));
    return joined([bytes.subarray(0, at), more, bytes.subarray(at)]);
  },
  function repeat(bytes, random) {
    const at = random.below(bytes.length);
    const piece = bytes.subarray(at, at + 1 + random.below(bytes.length));
    return joined([bytes.subarray(0, at), piece, piece, bytes.subarray(at + piece.length)]);
  },
  function twice(bytes) {
    return joined([bytes, bytes]);
  },
  function setU32(bytes, random) {
    if (bytes.length < 4) return bytes;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const at = random.below(Math.min(40, bytes.length - 3));
    view.setUint32(at, random.pick(EDGES) + random.below(2) >>> 0, random.below(2) === 0);
    return bytes;
  },
  function noise(_bytes, random) {
    return random.bytes(1 + random.below(3 * PAGE_SIZE));
  },
  function noiseBehindStart(bytes, random) {
    return joined([bytes.subarray(0, random.below(40)), random.bytes(1 + random.below(300))]);
  },
];

/** Damages one packet of a valid channel: its bytes, or how many pages it is said to have. */
async function damagedChannel(method: Method, random: Random): Promise<[Channel, string]> {
  const channel = await validChannel(method, random);
  const packet = random.pick(channel);
  if (random.below(10) === 0) {
    packet.pages = 1 + random.below(128);
    return [channel, "pages"];
  }
  const damages = Array.from({ length: 1 + random.below(2) }, () => random.pick(DAMAGES));
  for (const damage of damages) {
    if (packet.payload.length > 0) packet.payload = damage(packet.payload, random);
  }
  return [channel, damages.map((damage) => damage.name).join("+")];
}

function orHang<T>(work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const hang = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("it hangs")), HANG);
  });
  return Promise.race([work, hang]).finally(() => clearTimeout(timer));
}

/** Receives a channel; the packet at which it was refused, or its number of packets. */
async function receiveAll(method: Method, channel: Channel): Promise<number> {
  const receiver = await receiving(method, { pageSize: PAGE_SIZE });
  try {
    for (const [i, { payload, pages }] of channel.entries()) {
      try {
        const got = await orHang(receiver.receive(payload, pages * PAGE_SIZE));
        assert(got.length === pages * PAGE_SIZE);
      } catch (error) {
        if (error instanceof CodecError || error instanceof ProtocolError) return i;
        throw error;
      }
    }
    return channel.length;
  } finally {
    receiver.cleanup();
  }
}

for (const name of ["none", "zlib", "zstd", "qpl", "uadk", "qatzip"]) {
  const method = methodByName(name)!;
  test(`${name} gives whole pages or refuses, whatever comes`, { timeout: TIMEOUT }, async () => {
    let refused = 0;
    for (let i = 0; i < CASES; i++) {
      const random = new Random(SEED * 0x1_0001 + i);
      const [channel, damage] = await damagedChannel(method, random);
      try {
        if (await receiveAll(method, channel) < channel.length) refused++;
      } catch (error) {
        const which = `FUZZ_SEED=${SEED}, case ${i} of ${name}, ${damage}`;
        throw new Error(`${which}: ${(error as Error).message}`, { cause: error });
      }
    }
    // damage to raw pages is no damage to the format
    assert(refused > CASES / 5, `only ${refused} of ${CASES} were refused`);
  });

  test(`${name} takes the fuzzer's payloads as long as they are whole`, async () => {
    for (let i = 0; i < 20; i++) {
      const channel = await validChannel(method, new Random(SEED * 0x1_0001 + i));
      assert(await receiveAll(method, channel) === channel.length, `case ${i}`);
    }
  });
}
