/** Costs as they are measured on a machine of 2020, written down, so that the model is tested alone. */
import { assert } from "@std/assert";
import { type Candidate, candidatesOf } from "../../src/advise/candidates.ts";
import type { CodecMeasure, Profile, Shares, Speed } from "../../src/advise/codecs.ts";
import type { DeviceOption } from "../../src/advise/devices.ts";
import type { PipeCosts } from "../../src/advise/pipe.ts";
import type { Question } from "../../src/advise/recommend.ts";

export const GIB = 2 ** 30;

/** Asserts that a figure is no further from another than a tolerance. */
export function assertNear(actual: number, expected: number, tolerance: number): void {
  const distance = Math.abs(actual - expected);
  assert(
    distance <= tolerance,
    `${actual} is ${distance} from ${expected}, more than ${tolerance}`,
  );
}

export const PIPE: PipeCosts = {
  origin: "measured",
  isThreaded: true,
  setup: 0.02,
  send: { fixed: 0.01, perPage: 0.3e-6, perDataPage: 0.1e-6, perWireByte: 0.1e-9 },
  receive: { fixed: 0.01, perPage: 0.2e-6, perDataPage: 0.8e-6, perWireByte: 0.1e-9 },
};

export function speed(median: number): Speed {
  return {
    rate: { median, min: 0.9 * median, max: 1.1 * median },
    secondsPerByte: 1 / (median * 1e6),
  };
}

/** A codec that was measured; `left` as if the pages were half text, half programs. */
export function codec(
  method: string,
  engine: string,
  left: number,
  encode: number,
  decode: number,
  level: number | undefined = undefined,
): CodecMeasure {
  const kind = engine === "builtin" ? "runtime" : engine === "none" ? "copy" : "library";
  return {
    method,
    level,
    engine,
    kind,
    dense: false,
    left,
    encode: speed(encode),
    decode: speed(decode),
  };
}

/** A guest; `shrink` is what its pages leave beside what ordinary pages do, 1 for the same. */
export function profile(shares: Partial<Shares> = {}, shrink = 1): Profile {
  const left = (ordinary: number): number => Math.min(1, ordinary * shrink);
  return {
    bytes: 16 * GIB,
    pageSize: 4096,
    sampledPages: 16384,
    shares: { zero: 0.3, incompressible: 0.1, duplicate: 0, ...shares },
    codecs: [
      codec("none", "none", 1, 10_000, 15_000),
      codec("zlib", "isal", left(0.45), 600, 720, 1),
      codec("zlib", "builtin", left(0.44), 200, 400, 1),
      codec("zstd", "zstd", left(0.42), 600, 1800, 1),
      codec("zstd", "zstd", left(0.39), 330, 1800, 3),
      codec("qpl", "isal", left(0.52), 700, 1000),
      codec("uadk", "isal", left(0.52), 700, 1000),
      codec("qatzip", "isal", left(0.45), 560, 870, 1),
    ],
  };
}

/** What is asked of the model: 10 Gbit/s and 4 cores on either side, unless told otherwise. */
export function question(
  { guest, gigabits = 10, cores = 4, ...more }:
    & { guest: Profile; gigabits?: number; cores?: number }
    & Omit<Partial<Question>, "guest">,
): Question {
  return {
    guest: { bytes: guest.bytes, pageSize: guest.pageSize, zero: guest.shares.zero },
    pipe: PIPE,
    hosts: { sourceCores: cores, destinationCores: cores },
    link: { bitsPerSecond: gigabits * 1e9 },
    ...more,
  };
}

/** What `multifd` could do with a guest. */
export function candidates(guest: Profile, devices: readonly DeviceOption[] = []): Candidate[] {
  return candidatesOf(guest, "multifd", devices);
}
