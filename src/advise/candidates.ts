/** What may be recommended: each method at a level on an engine, with its costs for the model. */
import type { CodecMeasure, Profile } from "./codecs.ts";
import { deviceCosts, type DeviceOption, isDeviceName, PUBLISHED, rateOf } from "./devices.ts";
import type { CodecCosts } from "./pass.ts";

/** Whose migration it is: `multifd send`, or a QEMU's own. */
export type SenderProgram = "multifd" | "qemu";

/** Something that may be recommended. */
export interface Candidate {
  /** The compression method. */
  method: string;
  /** Its level; undefined where it has none. */
  level: number | undefined;
  /** What compresses: an engine of ours, `QEMU`, `iaa` or `qat`; `none` for method none. */
  engine: string;
  /** Whether `dense` is set. */
  dense: boolean;
  /** Where its costs are from. */
  origin: "measured" | "published";
  /** Its costs. */
  costs: CodecCosts;
}

const NOTHING: CodecCosts = {
  left: 1,
  encode: { thread: 0, cpu: 0 },
  decode: { thread: 0, cpu: 0 },
};

/**
 * Lists what may be recommended.
 *
 * @param profile What was measured.
 * @param sender Whose migration it is.
 * @param devices Devices of both hosts, by published or given rates.
 */
export function candidatesOf(
  profile: Profile,
  sender: SenderProgram,
  devices: readonly DeviceOption[] = [],
): Candidate[] {
  const none: Candidate = {
    method: "none",
    level: undefined,
    engine: "none",
    dense: false,
    origin: "measured",
    costs: NOTHING,
  };
  // a QEMU without the Kunpeng device cannot read uadk's pages
  const codecs = profile.codecs.filter(({ method }) => method !== "none" && method !== "uadk");
  const own = sender === "multifd" ? ours(codecs, devices) : qemus(codecs, devices);
  const elsewhere = devices.filter(({ name }) => !own.some(({ engine }) => engine === name));
  return [none, ...own, ...elsewhere.flatMap((device) => onDevice(codecs, device))];
}

/** Our engines; what decompresses is the fastest one of the method. */
function ours(
  codecs: readonly CodecMeasure[],
  devices: readonly DeviceOption[] = [],
): Candidate[] {
  return codecs.flatMap((codec) => {
    const decode = fastestDecoder(codecs, codec);
    if (codec.encode === undefined || decode === undefined) return [];
    const costs = { left: codec.left, encode: codec.encode.secondsPerByte, decode };
    const found = candidate(codec, codec.engine, costs);
    if (isDeviceName(codec.engine)) found.costs.deviceRate = rateOf(codec.engine, devices);
    return [found];
  });
}

function candidate(
  { method, level, dense }: CodecMeasure,
  engine: string,
  costs: { left: number; encode: number; decode: number },
  origin: Candidate["origin"] = "measured",
): Candidate {
  const { left, encode, decode } = costs;
  return {
    method,
    level,
    engine,
    dense,
    origin,
    costs: {
      left,
      encode: { thread: encode, cpu: encode },
      decode: { thread: decode, cpu: decode },
    },
  };
}

function fastestDecoder(codecs: readonly CodecMeasure[], of: CodecMeasure): number | undefined {
  const speeds = codecs
    .filter(({ method, level, encode }) =>
      method === of.method && (level === of.level || encode === undefined)
    )
    .flatMap(({ decode }) => decode?.secondsPerByte ?? []);
  return speeds.length > 0 ? Math.min(...speeds) : undefined;
}

/**
 * How much slower QEMU's own libraries are than ISA-L and libdeflate, which read and write the
 * same formats, and what they leave: `bench/qemu_codecs.ts`, with QEMU 10.0 on one machine.
 */
const SLOWER: Record<string, { encode: number; decode: number; left: number }> = {
  zlib: { encode: 9.2, decode: 3.5, left: 0.98 },
  qpl: { encode: 1.6, decode: 1.5, left: 1.06 },
  qatzip: { encode: 7.5, decode: 3.1, left: 0.98 },
};

/** What QEMU computes with: zstd's own library, zlib, and the software paths of QPL and QATzip. */
function qemus(codecs: readonly CodecMeasure[], devices: readonly DeviceOption[]): Candidate[] {
  const onDevices = ours(codecs, devices).filter(({ engine }) => isDeviceName(engine));
  const libqpl = codecs.filter(({ engine, dense }) => engine === "qpl" && !dense);
  const measured = [...qemusZstd(codecs), ...ours(libqpl).map(asQemus), ...onDevices];
  const isMeasured = (method: string): boolean => measured.some((found) => found.method === method);
  return [...measured, ...qemusDeflate(codecs).filter(({ method }) => !isMeasured(method))];
}

function asQemus(candidate: Candidate): Candidate {
  return { ...candidate, engine: "QEMU", dense: false };
}

/** The library is the same here; QEMU leaves its tables as the level has them. */
function qemusZstd(codecs: readonly CodecMeasure[]): Candidate[] {
  const engine = codecs.some(({ engine }) => engine === "zstd") ? "zstd" : "builtin";
  const own = codecs.filter((codec) => codec.method === "zstd" && codec.engine === engine);
  const hasDense = (level: number | undefined): boolean =>
    own.some((codec) => codec.dense && codec.level === level);
  return own
    .filter(({ dense, level }) => dense || !hasDense(level))
    .flatMap((codec) => ours([codec]))
    .map(asQemus);
}

function qemusDeflate(codecs: readonly CodecMeasure[]): Candidate[] {
  return Object.entries(SLOWER).flatMap(([method, slower]) => {
    const codec = codecs.find((codec) =>
      codec.method === method && codec.engine === "isal" && (codec.level ?? 1) === 1
    );
    const decode = codec === undefined ? undefined : fastestDecoder(codecs, codec);
    if (codec?.encode === undefined || decode === undefined) return [];
    return [candidate(codec, "QEMU", {
      left: Math.min(1, codec.left * slower.left),
      encode: codec.encode.secondsPerByte * slower.encode,
      decode: decode * slower.decode,
    }, "published")];
  });
}

/** The method's smallest level in software tells what a device leaves. */
function onDevice(codecs: readonly CodecMeasure[], device: DeviceOption): Candidate[] {
  const { method } = PUBLISHED[device.name];
  const software = codecs.find((codec) => codec.method === method && codec.encode !== undefined);
  if (software === undefined) return [];
  return [{
    method,
    level: software.level,
    engine: device.name,
    dense: false,
    origin: "published",
    costs: deviceCosts(device, software.left),
  }];
}
