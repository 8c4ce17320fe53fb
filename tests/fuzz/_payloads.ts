/** The decoders of each method, every engine that is here, on payloads that were damaged. */
import { assert, assertEquals } from "@std/assert";
import { nativeEngine } from "../../ffi/engines.ts";
import { CodecError } from "../../src/engines/engine.ts";
import { readGzipHeader } from "../../src/engines/qz_member.ts";
import { ZstdFrames } from "../../src/engines/zstd_frames.ts";
import { EngineUnavailableError, ProtocolError } from "../../src/errors.ts";
import { MAX_PAYLOAD_SIZE } from "../../src/methods/method.ts";
import { methodByName } from "../../src/methods/registry.ts";
import { METHODS as METHOD_ENGINES, using } from "../engines/_native.ts";
import { joined, receiving, same } from "../methods/_pages.ts";
import type { Random } from "../_random.ts";
import { anyPage, decodeChannel, encodeChannel, METHODS } from "./_channels.ts";
import { damaged } from "./_mutate.ts";
import { bytesOf, type Input, only, type Target } from "./_target.ts";

/** What a codec says of bad input, before a channel makes a VerificationError of it. */
function isCodecRefusal(error: unknown): boolean {
  return error instanceof CodecError || error instanceof ProtocolError;
}

function isHere(engine: string): boolean {
  if (engine === "builtin") return true;
  try {
    nativeEngine(engine);
    return true;
  } catch (error) {
    if (error instanceof EngineUnavailableError) return false;
    throw error;
  }
}

/** The engines that decode a method here, the runtime's own first. */
function decodersOf(name: string): string[] {
  const entry = METHOD_ENGINES.find(({ method }) => method.name === name);
  return (entry?.decoders ?? ["builtin"]).filter(isHere);
}

async function makePayloads(name: string, random: Random): Promise<Input> {
  const pageSize = random.pick([4096, 4096, 4096, 65536]);
  // a few large packets: some runtimes fail in their own way behind the first 16 KiB of output
  const most = random.pick(pageSize === 4096 ? [4, 4, 4, 4, 48] : [2]);
  const packets = Array.from(
    { length: 1 + random.below(3) },
    () => joined(Array.from({ length: 1 + random.below(most) }, () => anyPage(pageSize, random))),
  );
  const payloads = await encodeChannel(name, packets, pageSize, random);
  const sizes = packets.map(({ length }) => length);
  const isValid = random.below(6) === 0;
  if (!isValid) {
    const which = random.below(payloads.length);
    if (random.below(10) === 0) sizes[which] = pageSize * (1 + random.below(524288 / pageSize));
    else payloads[which] = damaged(payloads[which]!, random);
  }
  return {
    parts: Object.fromEntries(payloads.map((payload, i) => [`payload${i}`, payload])),
    options: { pageSize, sizes: sizes.join(), isValid },
  };
}

/** What one engine makes of a channel: its pages up to the first refusal, and that. */
async function receiveAll(
  name: string,
  engine: string,
  { parts, options }: Input,
): Promise<{ packets: Uint8Array[]; refusal: unknown }> {
  const sizes = (options.sizes as string).split(",").map(Number);
  const pageSize = options.pageSize as number;
  const end = await receiving(methodByName(name)!, using(engine, { pageSize }));
  const packets: Uint8Array[] = [];
  try {
    for (const [i, payload] of Object.values(parts).entries()) {
      // a channel has no more room than that
      if (payload.length > MAX_PAYLOAD_SIZE) throw new ProtocolError("Payload is too long");
      packets.push((await end.receive(payload, sizes[i]!)).slice());
    }
    return { packets, refusal: undefined };
  } catch (error) {
    if (!isCodecRefusal(error)) throw error;
    return { packets, refusal: error };
  } finally {
    end.cleanup();
  }
}

async function checkPayloads(name: string, input: Input): Promise<void> {
  const { isValid } = input.options;
  let refused: unknown;
  let own: Uint8Array[] | undefined;
  for (const engine of decodersOf(name)) {
    const { packets, refusal } = await receiveAll(name, engine, input);
    assert(refusal === undefined || !isValid, `${engine} refuses what is valid: ${refusal}`);
    const count = packets.length;
    const pages = meaningOf(name, engine, input, count);
    assert(pages === undefined || same(joined(packets), pages), `${engine} gives other pages`);
    // also of what there is no plain way to read
    own ??= packets;
    for (let i = 0; i < Math.min(count, own.length); i++) {
      assert(same(packets[i]!, own[i]!), `${engine}: packet ${i} is not as builtin has it`);
    }
    refused ??= refusal;
  }
  if (refused !== undefined) throw refused;
}

/** The pages of the first packets, read in the plainest way; undefined where there is none. */
function meaningOf(
  name: string,
  engine: string,
  { parts, options }: Input,
  count: number,
): Uint8Array | undefined {
  const sizes = (options.sizes as string).split(",").map(Number).slice(0, count);
  const payloads = Object.values(parts).slice(0, count);
  try {
    return decodeChannel(name, payloads, sizes, options.pageSize as number);
  } catch (error) {
    // libdeflate takes codes that zlib refuses: 286 and 287 as lengths
    const isZlibs = (error as { code?: string }).code?.startsWith("Z_") === true;
    if (engine !== "builtin" && isZlibs) return undefined;
    throw error;
  }
}

const DECODERS = METHODS.map((name): Target => ({
  name: `payload-${name}`,
  refuses: isCodecRefusal,
  generate: (random) => makePayloads(name, random),
  run: (input) => checkPayloads(name, input),
}));

const zstdFrames: Target = {
  name: "zstd-frames",
  refuses: isCodecRefusal,
  async generate(random) {
    const packets = Array.from({ length: 1 + random.below(2) }, () => anyPage(4096, random));
    const payload = joined(await encodeChannel("zstd", packets, 4096, random));
    return only(random.below(4) === 0 ? payload : damaged(payload, random));
  },
  run(input) {
    const bytes = bytesOf(input);
    let at = 0;
    for (const { start, end, stops } of new ZstdFrames().split(bytes)) {
      assertEquals(start, at);
      assert(end <= bytes.length && stops.at(-1) === end, `a part ends at ${end}`);
      assert(stops.every((stop, i) => stop > (stops[i - 1] ?? start)), `stops ${stops}`);
      at = end;
    }
    assertEquals(at, bytes.length);
  },
};

const qzMember: Target = {
  name: "qz-member",
  refuses: isCodecRefusal,
  async generate(random) {
    const [payload] = await encodeChannel("qatzip", [anyPage(4096, random)], 4096, random);
    const head = payload!.slice(0, 24 + random.below(40));
    // a name, a comment, a checksum of the header
    if (random.below(3) === 0) head[3] = random.below(32);
    return only(random.below(4) === 0 ? head : damaged(head, random));
  },
  run(input) {
    const bytes = bytesOf(input);
    const { size } = readGzipHeader(bytes);
    assert(size >= 10 && size <= bytes.length, `a header of ${size} bytes`);
  },
};

/** Every method's decoders, zstd frames, gzip members' headers. */
export const PAYLOAD_TARGETS: readonly Target[] = [...DECODERS, zstdFrames, qzMember];
