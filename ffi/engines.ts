/** Engines over the shim: one per shared object, all through codec.h. */
import {
  CodecError,
  type CodecFault,
  type CodecFormat,
  type CodecOptions,
  type Engine,
  type EngineCounts,
} from "../src/engines/engine.ts";
import { EngineError, EngineUnavailableError } from "../src/errors.ts";
import { findLibrary } from "./find.ts";
import type { NativeCalls } from "./open.ts";
import { statusAdvice, statusName } from "./status_names.ts";
import { CODEC_ABI, CODEC_SYMBOLS } from "./symbols.ts";

/** An engine of the shim: a shared object, and how it is asked to compute. */
export interface NativeEngineSpec {
  /** Its name, as `--engine` takes it. */
  readonly name: string;
  /** The shared object's name. */
  readonly library: string;
  /** What it knows: it is not loaded for anything else. */
  readonly formats: readonly CodecFormat[];
  /** Whether its library's device computes. */
  readonly isDevice?: boolean;
}

const PAGES: CodecFormat[] = ["deflate-pages"];
const MEMBERS: CodecFormat[] = ["gzip-members"];

/** Best first. */
const ENGINES: readonly NativeEngineSpec[] = [
  { name: "iaa", library: "qpl", formats: PAGES, isDevice: true },
  { name: "qat", library: "qatzip", formats: MEMBERS, isDevice: true },
  {
    name: "isal",
    library: "isal",
    formats: ["zlib-stream", "deflate-pages", "zlib-pages", "gzip-members"],
  },
  {
    name: "libdeflate",
    library: "libdeflate",
    formats: ["deflate-pages", "zlib-pages", "gzip-members"],
  },
  { name: "zstd", library: "zstd", formats: ["zstd-stream"] },
  { name: "qpl", library: "qpl", formats: PAGES },
];

/** For tests: simulated devices, and a software path that leaks (native-shim/qatzip.c). */
const TEST_ENGINES: readonly NativeEngineSpec[] = [
  { name: "iaa-simulated", library: "sim/qpl", formats: PAGES, isDevice: true },
  { name: "qat-simulated", library: "sim/qatzip", formats: MEMBERS, isDevice: true },
  { name: "qatzip", library: "qatzip", formats: MEMBERS },
];

/** Names of the shim's engines, best first. */
export const NATIVE_ENGINES: readonly string[] = ENGINES.map(({ name }) => name);
/** Names of the simulated devices, which are used only where they are asked for. */
export const SIMULATED_ENGINES: readonly string[] = ["iaa-simulated", "qat-simulated"];

/**
 * The engines that may know a format, best first; none is loaded for that.
 *
 * @param format The format.
 * @param simulated Whether the simulated devices are meant, else the others.
 */
export function enginesFor(format: CodecFormat, simulated: boolean): readonly NativeEngineSpec[] {
  const specs = simulated ? TEST_ENGINES.filter(({ isDevice }) => isDevice) : ENGINES;
  return specs.filter(({ formats }) => formats.includes(format));
}

function specOf(name: string): NativeEngineSpec | undefined {
  return [...ENGINES, ...TEST_ENGINES].find((spec) => spec.name === name);
}

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
/** The bits of codec_open()'s flags. */
const FLAG_DENSE = 1;
const FLAG_DEVICE = 2;
const FLAG_NO_FALLBACK = 4;
const FLAG_WAIT = 8;
/** CODEC_NO_DEVICE. */
const NO_DEVICE = -0x8000_0000;
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
/** CODEC_DEVICE_FAILED. */
const DEVICE_FAILED = -8;
/** enum codec_count, and CODEC_COUNTS. */
const [DEVICE_PAGES, SOFTWARE_PAGES, RAW_PAGES, BUSY, IN_FLIGHT, LAST_STATUS, FAILURES] = [
  0,
  1,
  2,
  3,
  4,
  5,
  6,
] as const;
const COUNTS = 6 + 2 * 32;
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
 * @param name Its name.
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
  const spec = specOf(name);
  if (spec === undefined) return new EngineUnavailableError(`Engine ${name} is unknown`);
  try {
    const isOurs = (calls: Calls): boolean => calls.codec_abi() === CODEC_ABI;
    const { calls, file } = findLibrary(spec.library, CODEC_SYMBOLS, isOurs);
    if (spec.isDevice) checkDevice(spec, calls);
    return makeEngine(spec, file, calls);
  } catch (error) {
    if (error instanceof EngineUnavailableError) return error;
    throw error;
  }
}

function checkDevice({ name, library }: NativeEngineSpec, calls: Calls): void {
  const status = calls.codec_device();
  if (status === 0) return;
  if (status === NO_DEVICE) throw new EngineUnavailableError(`Engine ${name} has no device`);
  const advice = statusAdvice(libraryOf(library), status);
  throw new EngineUnavailableError(
    `Engine ${name} has no device that works here${advice === undefined ? "" : `: ${advice}`}`,
    { code: statusName(libraryOf(library), status) },
  );
}

/** Whose statuses a shared object gives. */
function libraryOf(library: string): "qpl" | "qatzip" {
  return library.endsWith("qatzip") ? "qatzip" : "qpl";
}

function makeEngine(spec: NativeEngineSpec, file: string, calls: Calls): NativeEngine {
  const text = new Uint8Array(VERSION_ROOM);
  const known = calls.codec_probe(text, text.length);
  const formats = (shift: number): CodecFormat[] =>
    FORMATS.filter((_, bit) => (known >> (shift + bit) & 1) !== 0);
  const open = (format: CodecFormat, direction: number, options: CodecOptions): Codec =>
    new Codec(spec, calls, format, direction, options);
  return {
    name: spec.name,
    isDevice: spec.isDevice === true,
    file,
    version: new TextDecoder().decode(text.subarray(0, text.indexOf(0))),
    encodes: formats(0),
    decodes: formats(8),
    packetEncoder(format, options) {
      const codec = open(format, ENCODE, options);
      return {
        encode: (pages, out) => codec.encode(pages, out, null),
        counts: () => codec.counts(),
        close: () => codec.close(),
      };
    },
    packetDecoder(format, options) {
      const codec = open(format, DECODE, options);
      return {
        decode: (payload, out) => codec.decode(payload, null, out),
        counts: () => codec.counts(),
        close: () => codec.close(),
      };
    },
    pageEncoder: (format, options) => open(format, ENCODE, options),
    pageDecoder: (format, options) => open(format, DECODE, options),
  };
}

/** A codec of the shim. */
class Codec {
  readonly #spec: NativeEngineSpec;
  readonly #calls: Calls;
  readonly #handle: bigint;
  readonly #fault = new Uint32Array(4);
  #isOpen = true;

  constructor(
    spec: NativeEngineSpec,
    calls: Calls,
    format: CodecFormat,
    direction: number,
    { pageSize, level, dense, fallback, waitForQueue }: CodecOptions,
  ) {
    this.#spec = spec;
    this.#calls = calls;
    let flags = dense === true ? FLAG_DENSE : 0;
    if (spec.isDevice) flags |= FLAG_DEVICE;
    if (fallback === false) flags |= FLAG_NO_FALLBACK;
    if (waitForQueue === true) flags |= FLAG_WAIT;
    const number = FORMATS.indexOf(format);
    this.#handle = BigInt(calls.codec_open(number, direction, pageSize, level, flags));
    if (this.#handle !== 0n) return;
    throw new EngineUnavailableError(`Engine ${spec.name} cannot open ${format}`);
  }

  encode(pages: Uint8Array, out: Uint8Array, lengths: Uint32Array | null): number {
    const { length } = pages;
    const handle = this.#handle;
    const written = this.#calls.codec_encode(handle, pages, length, out, out.length, lengths);
    if (written < 0) this.#fail("compress", written);
    return written;
  }

  decode(payload: Uint8Array, lengths: Uint32Array | null, out: Uint8Array): void {
    const fault = this.#fault;
    const [handle, size, room] = [this.#handle, payload.length, out.length];
    const result = this.#calls.codec_decode(handle, payload, size, lengths, out, room, fault);
    if (result >= 0) return;
    const what = FAULTS[result];
    if (what === undefined) this.#fail("decompress", result);
    const [page, expected, received, code] = fault as unknown as [number, number, number, number];
    throw new CodecError(what, {
      page: page === NO_PAGE ? undefined : page,
      ...(expected > 0 ? { expected, received } : {}),
      ...(code !== 0 ? { code: `${this.#spec.name} ${code | 0}` } : {}),
    });
  }

  #fail(verb: string, result: number): never {
    const { name, library } = this.#spec;
    if (result !== DEVICE_FAILED) {
      throw new EngineError(`Engine ${name} cannot ${verb}`, { code: RESULT_NAMES[result] });
    }
    const code = statusName(libraryOf(library), Number(this.#readCounts()[LAST_STATUS]));
    throw new EngineError(`Engine ${name}: its device failed to ${verb}`, { code });
  }

  #readCounts(): BigInt64Array {
    const counts = new BigInt64Array(COUNTS);
    if (this.#isOpen) this.#calls.codec_stats(this.#handle, counts);
    return counts;
  }

  counts(): EngineCounts | undefined {
    if (!this.#spec.isDevice) return undefined;
    const counts = this.#readCounts();
    const failures: Record<string, number> = {};
    for (let i: number = FAILURES; i < COUNTS && counts[i] !== 0n; i += 2) {
      failures[statusName(libraryOf(this.#spec.library), Number(counts[i]))] = Number(
        counts[i + 1],
      );
    }
    return {
      devicePages: Number(counts[DEVICE_PAGES]),
      softwarePages: Number(counts[SOFTWARE_PAGES]),
      rawPages: Number(counts[RAW_PAGES]),
      busyRetries: Number(counts[BUSY]),
      mostInFlight: Number(counts[IN_FLIGHT]),
      failures,
    };
  }

  close(): void {
    if (this.#isOpen) this.#calls.codec_close(this.#handle);
    this.#isOpen = false;
  }
}
