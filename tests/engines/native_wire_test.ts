/** What the wire demands of the native encoders, by the letter of the formats. */
import fs from "node:fs";
import process from "node:process";
import zlib from "node:zlib";
import { assert, assertEquals } from "@std/assert";
import { ZstdFrames } from "../../src/engines/zstd_frames.ts";
import { methodByName } from "../../src/methods/registry.ts";
import {
  joined,
  PAGE_KINDS,
  pageOf,
  payloadsOf,
  SHAPES,
  somePages,
  splitPages,
} from "../methods/_pages.ts";
import { Random } from "../_random.ts";
import { testOf, using } from "./_native.ts";

const MIB = 1024 * 1024;
/** The kinds that no deflate makes shorter. */
const INCOMPRESSIBLE = ["random", "just does not fit"];
/** A deflate stream's first three bits: BFINAL, BTYPE (RFC 1951, 3.2.3). */
const FIXED_AND_FINAL = 0b011;
const DYNAMIC = 0b10;

const method = (name: string) => methodByName(name)!;

/** Every kind of page at every size, each as a packet of one page. */
const PAGES = SHAPES.flatMap(({ pageSize }) =>
  Object.keys(PAGE_KINDS).map((kind) => ({ kind, pageSize, page: pageOf(kind, pageSize, 9) }))
);

/** A page as qpl or uadk sends it. */
async function sentPage(
  name: string,
  page: Uint8Array,
  options: { dense?: boolean; uadkCompress?: boolean } = {},
): Promise<Uint8Array> {
  const all = using("isal", { pageSize: page.length, ...options });
  const [payload] = await payloadsOf(method(name), [page], all);
  return splitPages(payload!, 1)[0]!;
}

testOf(
  ["isal"],
  "zlib of isal is one stream with one header, flushed after each packet",
  async () => {
    const packets = [1, 3, 128, 1, 3].map((count) => somePages(count, 4096, count));
    for (let level = 0; level <= 9; level++) {
      const payloads = await payloadsOf(method("zlib"), packets, using("isal", { level }));
      for (const payload of payloads) {
        assertEquals(payload.slice(-4), Uint8Array.of(0x00, 0x00, 0xff, 0xff));
      }
      assertEquals(payloads[0]!.slice(0, 2), Uint8Array.of(0x78, 0x01));
      // a second header anywhere would be read as a block
      const finishFlush = zlib.constants.Z_SYNC_FLUSH;
      const pages = zlib.inflateSync(joined(payloads), { finishFlush });
      assertEquals(new Uint8Array(pages), joined(packets));
    }
  },
);

testOf(
  ["isal"],
  "zlib of isal fits 512 KiB of random pages into 1 MiB at every level",
  async () => {
    const noise = pageOf("random", 512 * 1024);
    for (let level = 0; level <= 9; level++) {
      const [payload] = await payloadsOf(method("zlib"), [noise], using("isal", { level }));
      method("zlib").checkPayloadSize(payload!.length, 128, 4096);
      // level 0 has fixed codes; the others fall back to stored blocks
      assert(level === 0 || payload!.length < 513 * 1024, `level ${level}: ${payload!.length}`);
    }
  },
);

for (const dense of [false, true]) {
  const what = dense ? "dense qpl" : "qpl";

  testOf(
    ["isal"],
    `${what} of isal is raw or a stream below S with a window of 4 KiB`,
    async () => {
      for (const { kind, pageSize, page } of PAGES) {
        const sent = await sentPage("qpl", page, { dense });
        if (sent.length === pageSize) {
          assertEquals(sent, page, kind);
          continue;
        }
        assert(sent.length < pageSize, kind);
        const content = zlib.inflateRawSync(sent, { windowBits: 12 });
        assertEquals(new Uint8Array(content), page, kind);
      }
    },
  );
}

testOf(
  ["isal"],
  "qpl of isal is one fixed-Huffman block per page, if not one byte over and over",
  async () => {
    let blocks = 0;
    for (const { kind, page } of PAGES) {
      const sent = await sentPage("qpl", page);
      // ISA-L has a code of its own for 4 KiB and more of one byte, and QPL reads any
      if (
        sent.length === page.length || page.subarray(0, 4096).every((b) => b === page[0])
      ) continue;
      assertEquals(sent[0]! & 0b111, FIXED_AND_FINAL, kind);
      blocks++;
    }
    assert(blocks > 12, `${blocks}`);
  },
);

testOf(
  ["isal"],
  "dense qpl and uadk of isal are dynamic blocks where these are smaller",
  async () => {
    for (const { pageSize } of SHAPES) {
      const text = pageOf("text", pageSize);
      for (const [name, head] of [["qpl", 0], ["uadk", 2]] as const) {
        const dense = await sentPage(name, text, { dense: true, uadkCompress: true });
        const usual = await sentPage(name, text, { uadkCompress: true });
        assertEquals(usual[head]! & 0b111, FIXED_AND_FINAL);
        assertEquals(dense[head]! >> 1 & 0b11, DYNAMIC);
        assert(dense.length < 0.9 * usual.length, `${name}: ${dense.length} ${usual.length}`);
      }
    }
  },
);

testOf(["isal"], "qpl and uadk of isal send what would not shrink as it is", async () => {
  for (const { kind, page } of PAGES) {
    if (!INCOMPRESSIBLE.includes(kind)) continue;
    for (const dense of [false, true]) {
      const qpl = await sentPage("qpl", page, { dense });
      const uadk = await sentPage("uadk", page, { dense, uadkCompress: true });
      if (kind === "random" || qpl.length === page.length) assertEquals(qpl, page);
      assertEquals(uadk, page);
    }
  }
});

testOf(["isal"], "uadk of isal is `78 9c`, a window of 4 KiB and the right Adler-32", async () => {
  let compressed = 0;
  for (const { kind, page } of PAGES) {
    for (const dense of [false, true]) {
      const sent = await sentPage("uadk", page, { dense, uadkCompress: true });
      if (sent.length === page.length) continue;
      assert(sent.length < page.length, kind);
      assertEquals(sent.slice(0, 2), Uint8Array.of(0x78, 0x9c));
      const deflated = sent.subarray(2, -4);
      const content = zlib.inflateRawSync(deflated, { windowBits: 12 });
      assertEquals(new Uint8Array(content), page, kind);
      assertEquals(new DataView(sent.buffer).getUint32(sent.length - 4), adler32(page), kind);
      compressed++;
    }
  }
  assert(compressed > 24, `${compressed}`);
});

/** RFC 1950, 8.2. */
function adler32(bytes: Uint8Array): number {
  let [low, high] = [1, 0];
  for (const byte of bytes) {
    low = (low + byte) % 65521;
    high = (high + low) % 65521;
  }
  return (high << 16 | low) >>> 0;
}

testOf(["isal"], "qatzip of isal is QZ members of 64 KiB, every size in them true", async () => {
  const packets = [
    somePages(8, 65536, 21),
    somePages(17, 4096, 22),
    pageOf("text"),
    pageOf("random", 512 * 1024),
    new Uint8Array(128 * 1024),
  ];
  for (let level = 1; level <= 9; level++) {
    const payloads = await payloadsOf(method("qatzip"), packets, using("isal", { level }));
    payloads.forEach((payload, i) => assertMembers(payload, packets[i]!));
  }
});

function assertMembers(payload: Uint8Array, pages: Uint8Array): void {
  assert(payload.length <= MIB);
  const view = new DataView(payload.buffer);
  let at = 0;
  for (let start = 0; start < pages.length; start += 65536) {
    const source = pages.subarray(start, start + 65536);
    const head = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, payload[at + 8]!, 255, 12, 0, 0x51, 0x5a, 8, 0];
    assertEquals([...payload.subarray(at, at + 16)], head);
    assert([0, 2, 4].includes(payload[at + 8]!));
    assertEquals(view.getUint32(at + 16, true), source.length);
    const deflated = view.getUint32(at + 20, true);
    assert(deflated <= 74_752, `${deflated}`);
    const end = at + 24 + deflated;
    const content = zlib.inflateRawSync(payload.subarray(at + 24, end));
    assertEquals(new Uint8Array(content), source.slice());
    assertEquals(view.getUint32(end, true), zlib.crc32(source));
    assertEquals(view.getUint32(end + 4, true), source.length);
    at = end + 8;
  }
  assertEquals(at, payload.length);
}

testOf(["zstd"], "zstd of zstd is one whole frame per packet at every level", async () => {
  const packets = [1, 3, 16, 1].map((count) => somePages(count, 4096, count));
  for (let level = 0; level <= 20; level++) {
    const payloads = await payloadsOf(method("zstd"), packets, using("zstd", { level }));
    for (const [i, payload] of payloads.entries()) {
      const parts = new ZstdFrames().split(payload);
      assertEquals(parts.map(({ opens, closes }) => [opens, closes]), [[true, true]]);
      assertEquals(new Uint8Array(zlib.zstdDecompressSync(payload)), packets[i]);
    }
  }
});

testOf(
  ["zstd"],
  "zstd of zstd stores long runs of noise as they are, in frames of their own",
  async () => {
    const text = (count: number) => joined(Array(count).fill(pageOf("text")));
    const noise = (count: number) => new Random(7).bytes(count * 4096);
    // more than a block holds, a run that is too short, and the least that is stored
    const parts = [text(5), noise(40), joined([text(3), noise(3), text(1)]), noise(4)];
    const packet = joined(parts);
    const [payload] = await payloadsOf(method("zstd"), [packet], using("zstd", { level: 1 }));
    const frames = new ZstdFrames().split(payload!).map(({ start, end }) =>
      payload!.subarray(start, end)
    );
    assertEquals(
      frames.map((frame) => new Uint8Array(zlib.zstdDecompressSync(frame))),
      parts,
    );
    // magic, descriptor and size, and a header for each 128 KiB: RFC 8878, 3.1.1
    assertEquals(frames[1]!.length, 9 + 2 * 3 + parts[1]!.length);
    assertEquals(frames[3]!.length, 9 + 3 + parts[3]!.length);
    assert(frames[0]!.length < parts[0]!.length / 4);
  },
);

testOf(["isal", "zstd"], "levels compress more the higher they are", async () => {
  // a program: what words drawn by lot shrink to depends on the processor's own code in ISA-L
  const program = new Uint8Array(512 * 1024);
  const file = fs.openSync(process.execPath, "r");
  fs.readSync(file, program, 0, program.length, MIB);
  fs.closeSync(file);
  const levels: [string, string, number, number][] = [
    ["zlib", "isal", 0, 3],
    ["qatzip", "isal", 1, 3],
    ["zstd", "zstd", 1, 20],
  ];
  for (const [name, engine, low, high] of levels) {
    const sizes = [];
    for (const level of [low, high]) {
      sizes.push((await payloadsOf(method(name), [program], using(engine, { level })))[0]!.length);
    }
    assert(sizes[0]! > sizes[1]!, `${name}: ${sizes}`);
  }
});
