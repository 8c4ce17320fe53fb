/** What the native decoders refuse, as what: the same as builtin does, where they can tell. */
import zlib from "node:zlib";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { CodecError } from "../../src/engines/engine.ts";
import { EngineError, EngineUnavailableError } from "../../src/errors.ts";
import {
  assertFault,
  assertPeak,
  assertReceives,
  joined,
  pageOf,
  payloadOf,
  payloadsOf,
  receiving,
} from "../methods/_pages.ts";
import { FAULTS, FLUSH, frame, RESERVED_BLOCK } from "./_faults.ts";
import { engineNamed, METHODS, testOf, using } from "./_native.ts";
import { stockPayloads } from "./_stock.ts";

const MIB = 1024 * 1024;
const TEXT = pageOf("text");
const NOISE = pageOf("random");

for (const { method, decoders } of METHODS) {
  const native = decoders[1]!;
  for (const { what, payload, fault, size = 4096, page, builtin } of FAULTS[method.name]!) {
    const faults = [fault].flat();
    const name = `${method.name} through ${native} refuses ${what} as ${faults.join(" or ")}`;
    testOf([native], name, async () => {
      const own = await assertFault(builtin ?? fault, method, payload, using("builtin", { size }));
      const error = await assertFault(fault, method, payload, using(native, { size }));
      assertEquals([error.page, own.page], [page, page]);
      // facts that are not known must not look like facts
      if (error.fault === "bad data") assertEquals(error.expected, undefined);
      const isTold = error.fault === own.fault && error.expected !== undefined;
      if (isTold && (own.fault === "left-over input" || own.fault === "too short")) {
        assertEquals([error.expected, error.received], [own.expected, own.received]);
      }
    });
  }

  const isPages = method.levels === undefined;
  testOf([native], `${method.name} through ${native} refuses a stream cut anywhere`, async () => {
    const options = using(native, { uadkCompress: true });
    const pages = isPages ? TEXT : joined([TEXT, pageOf("zero-rich")]);
    const [payload] = await payloadsOf(method, [pages], using("builtin", options));
    const stream = payload!.subarray(isPages ? 4 : 0);
    for (let size = 1; size < stream.length; size += size < 64 ? 1 : 7) {
      const cut = stream.subarray(0, size);
      const channel = await receiving(method, options);
      const receive = () => channel.receive(isPages ? payloadOf([cut]) : cut, pages.length);
      const error = await assertRejects(receive, CodecError);
      assertEquals(error.page, isPages ? 0 : undefined);
      channel.cleanup();
    }
  });
}

testOf(
  ["zstd"],
  "zstd through zstd refuses a frame cut in its checksum or a block's header",
  async () => {
    const { method } = METHODS[1]!;
    // all pages are there in each of these, and only the frame's end is not
    const raw = joined([frame(NOISE).subarray(0, -4099), Uint8Array.of(0x00, 0x80, 0x00), NOISE]);
    const before: [Uint8Array, number][] = [[frame(TEXT, 1), 4096]];
    for (const rest of [Uint8Array.of(0x01), Uint8Array.of(0x01, 0x00)]) {
      await assertFault("too short", method, joined([raw, rest]), using("zstd", { before }));
    }
    for (const missing of [1, 2, 4]) {
      const cut = frame(NOISE, 1).subarray(0, -missing);
      for (const engine of ["builtin", "zstd"]) {
        await assertFault("too short", method, cut, using(engine, { before }));
      }
    }
  },
);

testOf(["isal"], "zlib through isal refuses a packet when the one before is missing", async () => {
  const { method } = METHODS[0]!;
  // a stream of zlib's own: isal's packets refer to none before
  const [first, second] = await stockPayloads(
    zlib.createDeflate(),
    [NOISE, NOISE],
    zlib.constants.Z_SYNC_FLUSH,
  );
  const refers = joined([first!.subarray(0, 2), second!]);
  for (const engine of ["builtin", "isal"]) {
    await assertFault("bad data", method, refers, using(engine, {}));
  }
});

testOf(["isal"], "zlib through isal names faults of a later packet", async () => {
  const { method } = METHODS[0]!;
  const packets = [TEXT, joined([NOISE, NOISE]), TEXT];
  const payloads = await payloadsOf(method, packets, using("isal", {}));
  const before: [Uint8Array, number][] = [[payloads[0]!, 4096]];
  await assertReceives(method, payloads, packets, using("isal", {}));
  await assertFault("too long", method, payloads[1]!, using("isal", { before }));
  await assertFault("too short", method, payloads[1]!, using("isal", { before, size: 12288 }));
  const broken = joined([RESERVED_BLOCK, FLUSH]);
  await assertFault("bad data", method, broken, using("isal", { before }));
});

/** Deflate that gives so many MiB. */
function deflateBomb(mib: number): Uint8Array {
  const options = { level: 9, finishFlush: zlib.constants.Z_FULL_FLUSH };
  return joined(Array<Uint8Array>(mib).fill(zlib.deflateRawSync(new Uint8Array(MIB), options)));
}

const BOMBS: Record<string, () => [Uint8Array, { pageSize: number; size: number }]> = {
  zlib: () => [joined([Uint8Array.of(0x78, 0x01), deflateBomb(900)]), whole()],
  zstd: () => [joined(Array<Uint8Array>(64).fill(frame(new Uint8Array(64 * MIB)))), whole()],
  qpl: () => [bombs(zlib.deflateRawSync), whole()],
  uadk: () => [bombs(zlib.deflateSync), whole()],
  qatzip: () => [
    joined([Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255), deflateBomb(900)]),
    whole(),
  ],
};

const whole = () => ({ pageSize: 65536, size: 8 * 65536 });

function bombs(deflate: (bytes: Uint8Array, options: zlib.ZlibOptions) => Uint8Array): Uint8Array {
  const bomb = deflate(new Uint8Array(60 * MIB), { level: 9 });
  return payloadOf(Array<Uint8Array>(8).fill(bomb));
}

for (const { method, decoders } of METHODS) {
  const native = decoders[1]!;
  testOf(
    [native],
    `${method.name} through ${native} refuses a bomb without holding it`,
    async () => {
      const [payload, options] = BOMBS[method.name]!();
      method.checkPayloadSize(payload.length, 8, 65536);
      await assertPeak(32 * MIB, async () => {
        await assertFault("too long", method, payload, using(native, options));
      });
    },
  );
}

testOf(
  ["isal", "zstd"],
  "an engine's own failure is an EngineError, and no CodecError",
  async () => {
    const options = { pageSize: 4096, level: 1 };
    const out = new Uint8Array(8192);
    for (const format of ["deflate-pages", "zlib-pages"] as const) {
      const encoder = engineNamed("isal").packetEncoder(format, options);
      await assertRejects(async () => await encoder.encode(TEXT, out), EngineError, "bad call");
      encoder.close();
    }
    for (const [name, format] of [["isal", "zlib-stream"], ["zstd", "zstd-stream"]] as const) {
      const encoder = engineNamed(name).packetEncoder(format, options);
      for (const size of [0, 1, 4095, 4097]) {
        const part = async () => await encoder.encode(new Uint8Array(size), out);
        await assertRejects(part, EngineError, "bad call");
      }
      const small = async () => await encoder.encode(NOISE, out.subarray(0, 100));
      await assertRejects(small, EngineError, "does not fit");
      encoder.close();
      encoder.close();
    }
  },
);

for (const name of ["isal", "libdeflate", "zstd"]) {
  testOf(
    [name],
    `engine ${name} opens no codec for a format or a page size it does not know`,
    () => {
      const engine = engineNamed(name);
      const format = engine.decodes[0]!;
      for (const pageSize of [0, 1, 2048, 3000, 4097, 131072]) {
        const open = () => engine.packetDecoder(format, { pageSize, level: 1 });
        assertThrows(open, EngineUnavailableError, `Engine ${name} cannot open ${format}`);
      }
      const other = name === "zstd" ? "zlib-stream" : "zstd-stream";
      const open = () => engine.packetEncoder(other, { pageSize: 4096, level: 1 });
      assertThrows(open, EngineUnavailableError, `Engine ${name} cannot open ${other}`);
    },
  );
}
