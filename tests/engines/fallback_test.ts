import { test } from "node:test";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { setUpSender } from "../../src/channels/verify.ts";
import { builtin } from "../../src/engines/builtin.ts";
import { CodecError, type Engine, type EngineCounts } from "../../src/engines/engine.ts";
import { NOT_OPENED, withFallback } from "../../src/engines/fallback.ts";
import { EngineError, EngineUnavailableError } from "../../src/errors.ts";
import { methodByName } from "../../src/methods/registry.ts";
import { Random } from "../_random.ts";

const PAGE = 4096;
const METHODS = ["qpl", "qatzip"];
const context = { pageSize: PAGE, level: 1, verify: false };

/** What the made-up device does with its nth call. */
type Act = "works" | "fails" | "corrupts";

/** A device made of the builtin engine, which misbehaves as it is told. */
function makeDevice(acts: Act[]): Engine {
  let calls = 0;
  const counts: EngineCounts = {
    devicePages: 0,
    softwarePages: 0,
    rawPages: 0,
    busyRetries: 0,
    mostInFlight: 1,
    failures: {},
  };
  // as the shim's codecs it fails at once, not with a promise
  const now = <T>(pages: Uint8Array, work: () => T, output: Uint8Array): T => {
    const act = acts[calls++ % acts.length];
    if (act === "fails") {
      counts.failures.LOST = (counts.failures.LOST ?? 0) + 1;
      throw new EngineError("Device is lost", { code: "LOST" });
    }
    const finish = (result: Awaited<T>): Awaited<T> => {
      counts.devicePages += pages.length / PAGE;
      if (act === "corrupts") output[100]! ^= 0x40;
      return result;
    };
    const result = work();
    return (result instanceof Promise ? result.then(finish) : finish(result as Awaited<T>)) as T;
  };
  const { packetEncoder, packetDecoder, pageEncoder, pageDecoder } = builtin;
  return {
    ...builtin,
    name: "made-up",
    isDevice: true,
    packetEncoder(format, options) {
      const codec = packetEncoder(format, options);
      return {
        encode: (pages, out) => now(pages, () => codec.encode(pages, out), out),
        counts: () => counts,
        close: () => codec.close(),
      };
    },
    packetDecoder(format, options) {
      const codec = packetDecoder(format, options);
      return {
        decode: (payload, out) => now(out, () => codec.decode(payload, out), out),
        counts: () => counts,
        close: () => codec.close(),
      };
    },
    pageEncoder(format, options) {
      const codec = pageEncoder(format, options);
      return {
        encode: (pages, out, lengths) => now(pages, () => codec.encode(pages, out, lengths), out),
        counts: () => counts,
        close: () => codec.close(),
      };
    },
    pageDecoder(format, options) {
      const codec = pageDecoder(format, options);
      return {
        decode: (payload, lengths, out) => now(out, () => codec.decode(payload, lengths, out), out),
        counts: () => counts,
        close: () => codec.close(),
      };
    },
  };
}

function somePages(count: number): Uint8Array {
  const random = new Random(4);
  const pages = new Uint8Array(count * PAGE);
  for (let i = 0; i < pages.length; i += 3) pages[i] = random.below(5);
  return pages;
}

async function decoded(name: string, payload: Uint8Array, size: number): Promise<Uint8Array> {
  const receiver = await methodByName(name)!.receiveSetup({ ...context, engine: builtin });
  const pages = new Uint8Array(size);
  await receiver.receive(payload, pages);
  receiver.cleanup();
  return pages;
}

for (const name of METHODS) {
  const method = methodByName(name)!;

  test(`${name}: what the device fails at, software does, and both are counted`, async () => {
    const engine = withFallback(makeDevice(["works", "fails", "fails"]), builtin);
    const sender = await method.sendSetup({ ...context, engine });
    const out = new Uint8Array(1024 * 1024);
    const pages = somePages(16);
    for (let packet = 0; packet < 6; packet++) {
      const size = await sender.prepare(pages, out);
      assertEquals(await decoded(name, out.subarray(0, size), pages.length), pages);
    }
    const counts = sender.counts!()!;
    assertEquals(counts.devicePages, 2 * 16);
    assertEquals(counts.softwarePages, 4 * 16);
    assertEquals(counts.failures, { LOST: 4 });
    sender.cleanup();
  });

  test(`${name}: a device that decodes badly is believed only where software fails, too`, async () => {
    const software = await method.sendSetup({ ...context, engine: builtin });
    const payload = new Uint8Array(1024 * 1024);
    const pages = somePages(5);
    const size = await software.prepare(pages, payload);
    const engine = withFallback(makeDevice(["fails"]), builtin);
    const receiver = await method.receiveSetup({ ...context, engine });
    const got = new Uint8Array(pages.length);
    await receiver.receive(payload.subarray(0, size), got);
    assertEquals(got, pages);
    payload[size - 20]! ^= 0xff;
    await assertRejects(
      async () => await receiver.receive(payload.subarray(0, size), got),
      CodecError,
    );
    receiver.cleanup();
    software.cleanup();
  });

  test(`${name}: a device that is lost before its codec opens is software from then on`, async () => {
    const lost = (): never => {
      throw new EngineUnavailableError("Device is lost");
    };
    const device = { ...makeDevice(["works"]), packetEncoder: lost, pageEncoder: lost };
    const context = { pageSize: PAGE, level: 1 };
    const sender = await method.sendSetup({ ...context, engine: withFallback(device, builtin) });
    const out = new Uint8Array(1024 * 1024);
    const pages = somePages(7);
    const size = await sender.prepare(pages, out);
    assertEquals(await decoded(name, out.subarray(0, size), pages.length), pages);
    assertEquals(sender.counts!()!.softwarePages, 7);
    assertEquals(sender.counts!()!.failures, { [NOT_OPENED]: 1 });
    sender.cleanup();
    const alone = { ...context, engine: withFallback(device, builtin), fallback: false };
    assertThrows(() => method.sendSetup(alone), EngineUnavailableError);
  });

  test(`${name}: without fallback the device's failure is the error`, async () => {
    const engine = withFallback(makeDevice(["fails"]), builtin);
    const sender = await method.sendSetup({ ...context, engine, fallback: false });
    assertThrows(
      () => sender.prepare(somePages(3), new Uint8Array(1024 * 1024)) as number,
      EngineError,
      "LOST",
    );
    sender.cleanup();
  });

  test(`${name}: verify catches a payload that does not give its pages, and makes it anew`, async () => {
    const engine = withFallback(makeDevice(["works", "corrupts"]), builtin);
    let caught = 0;
    const sender = await setUpSender(method, { ...context, engine, verify: true }, () => caught++);
    const out = new Uint8Array(1024 * 1024);
    const pages = somePages(128);
    for (let packet = 0; packet < 6; packet++) {
      const size = await sender.prepare(pages, out);
      assertEquals(await decoded(name, out.subarray(0, size), pages.length), pages);
    }
    assertEquals(caught, 3);
    sender.cleanup();
  });

  test(`${name}: without verify a corrupt payload is sent`, async () => {
    const engine = withFallback(makeDevice(["corrupts"]), builtin);
    const sender = await setUpSender(method, { ...context, engine }, () => {});
    const out = new Uint8Array(1024 * 1024);
    const pages = somePages(128);
    const size = await sender.prepare(pages, out);
    const wrong = await decoded(name, out.subarray(0, size), pages.length).then(
      (got) => got.some((byte, i) => byte !== pages[i]),
      (error) => error instanceof CodecError || error.name === "ProtocolError",
    );
    assertEquals(wrong, true);
    sender.cleanup();
  });
}

for (const name of ["zlib", "zstd"]) {
  test(`${name}: verify ends the migration where a packet cannot be made anew`, async () => {
    const bad: Engine = {
      ...builtin,
      packetEncoder(format, options) {
        const codec = builtin.packetEncoder(format, options);
        return {
          ...codec,
          async encode(pages, out) {
            const size = await codec.encode(pages, out);
            out[size >> 1]! ^= 0x10;
            return size;
          },
        };
      },
    };
    const method = methodByName(name)!;
    let caught = 0;
    const sender = await setUpSender(
      method,
      { ...context, engine: bad, verify: true },
      () => caught++,
    );
    const out = new Uint8Array(1024 * 1024);
    await assertRejects(
      async () => await sender.prepare(somePages(64), out),
      EngineError,
      "does not give its pages",
    );
    assertEquals(caught, 1);
    sender.cleanup();
  });
}
