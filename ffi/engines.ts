/** Engines over the shim: one per shared object, all through codec.h. */
import {
  CodecError,
  type CodecFault,
  type CodecFormat,
  type CodecOptions,
  type Engine,
} from "../src/engines/engine.ts";
import { EngineError, EngineUnavailableError } from "../src/errors.ts";
import { findLibrary } from "./find.ts";
import type { NativeCalls } from "./open.ts";
import { CODEC_ABI, CODEC_SYMBOLS } from "./symbols.ts";

/** The shared objects with codecs, best first. */
export const NATIVE_ENGINES: readonly string[] = ["isal", "libdeflate", "zstd"];

/** enum codec_format. */
const FORMATS: readonly CodecFormat[] = [
  "zlib-stream",
  "zstd-stream",
  "deflate-pages",
  "zlib-pages",
  "gzip-members",
];
/** enum codec_direction. */
const ENCODE = 0;
const DECODE = 1;
/** CODEC_DENSE. */
const FLAG_DENSE = 1;
/** enum codec_result, where it is a fault of the data. */
const FAULTS: Record<number, CodecFault> = {
  [-2]: "too short",
  [-3]: "too long",
  [-4]: "left-over input",
  [-5]: "bad data",
};
const RESULT_NAMES: Record<number, string> = {
  [-1]: "does not fit",
  [-6]: "library error",
  [-7]: "bad call",
};
const NO_PAGE = 0xffffffff;
const VERSION_ROOM = 64;

type Calls = NativeCalls<typeof CODEC_SYMBOLS>;

/** An engine of the shim that can be used, or why it cannot. */
export type NativeEngine = Engine & {
  /** The library's name and version. */
  readonly version: string;
  /** The shared object. */
  readonly file: string;
};

const loaded = new Map<string, NativeEngine | EngineUnavailableError>();

/**
 * Loads an engine of the shim, once per thread.
 *
 * @param name Its shared object's name.
 * @throws {EngineUnavailableError} If it cannot be used here; the message says what to do.
 */
export function nativeEngine(name: string): NativeEngine {
  let engine = loaded.get(name);
  if (engine === undefined) {
    engine = load(name);
    loaded.set(name, engine);
  }
  if (engine instanceof EngineUnavailableError) throw engine;
  return engine;
}

function load(name: string): NativeEngine | EngineUnavailableError {
  try {
    const { calls, file } = findLibrary(name, CODEC_SYMBOLS);
    const abi = calls.codec_abi();
    if (abi !== CODEC_ABI) {
      return new EngineUnavailableError(`${file} is of another version, build it anew`, {
        expected: `ABI ${CODEC_ABI}`,
        received: `ABI ${abi}`,
      });
    }
    return makeEngine(name, file, calls);
  } catch (error) {
    if (error instanceof EngineUnavailableError) return error;
    throw error;
  }
}

function makeEngine(name: string, file: string, calls: Calls): NativeEngine {
  const text = new Uint8Array(VERSION_ROOM);
  const known = calls.codec_probe(text, text.length);
  const formats = (shift: number): CodecFormat[] =>
    FORMATS.filter((_, bit) => (known >> (shift + bit) & 1) !== 0);
  return {
    name,
    file,
    version: new TextDecoder().decode(text.subarray(0, text.indexOf(0))),
    encodes: formats(0),
    decodes: formats(8),
    packetEncoder(format, options) {
      const codec = new Codec(name, calls, format, ENCODE, options);
      return {
        encode: (pages, out) => codec.encode(pages, out, null),
        close: () => codec.close(),
      };
    },
    packetDecoder(format, options) {
      const codec = new Codec(name, calls, format, DECODE, options);
      return {
        decode: (payload, out) => codec.decode(payload, null, out),
        close: () => codec.close(),
      };
    },
    pageEncoder: (format, options) => new Codec(name, calls, format, ENCODE, options),
    pageDecoder: (format, options) => new Codec(name, calls, format, DECODE, options),
  };
}

/** A codec of the shim. */
class Codec {
  readonly #name: string;
  readonly #calls: Calls;
  readonly #handle: bigint;
  readonly #fault = new Uint32Array(4);
  #isOpen = true;

  constructor(
    name: string,
    calls: Calls,
    format: CodecFormat,
    direction: number,
    { pageSize, level, dense }: CodecOptions,
  ) {
    this.#name = name;
    this.#calls = calls;
    const flags = dense === true ? FLAG_DENSE : 0;
    const number = FORMATS.indexOf(format);
    this.#handle = BigInt(calls.codec_open(number, direction, pageSize, level, flags));
    if (this.#handle !== 0n) return;
    throw new EngineUnavailableError(`Engine ${name} cannot open ${format}`);
  }

  encode(pages: Uint8Array, out: Uint8Array, lengths: Uint32Array | null): number {
    const { length } = pages;
    const handle = this.#handle;
    const written = this.#calls.codec_encode(handle, pages, length, out, out.length, lengths);
    if (written >= 0) return written;
    throw new EngineError(`Engine ${this.#name} cannot compress`, { code: RESULT_NAMES[written] });
  }

  decode(payload: Uint8Array, lengths: Uint32Array | null, out: Uint8Array): void {
    const fault = this.#fault;
    const [handle, size, room] = [this.#handle, payload.length, out.length];
    const result = this.#calls.codec_decode(handle, payload, size, lengths, out, room, fault);
    if (result >= 0) return;
    const what = FAULTS[result];
    if (what === undefined) {
      const code = RESULT_NAMES[result];
      throw new EngineError(`Engine ${this.#name} cannot decompress`, { code });
    }
    const [page, expected, received, code] = fault as unknown as [number, number, number, number];
    throw new CodecError(what, {
      page: page === NO_PAGE ? undefined : page,
      ...(expected > 0 ? { expected, received } : {}),
      ...(code !== 0 ? { code: `${this.#name} ${code | 0}` } : {}),
    });
  }

  close(): void {
    if (this.#isOpen) this.#calls.codec_close(this.#handle);
    this.#isOpen = false;
  }
}
