/**
 * How much slower a QEMU's own libraries are than ISA-L and libdeflate, which read and write the
 * same formats: what `multifd advise --sender qemu` says of methods whose library is not here
 * (`src/advise/candidates.ts`). QEMU's are the CPU seconds of whole migrations, less those that
 * pages which compress to nothing take; ours are measured before and after, as `advise` does.
 *
 * `deno run -A bench/qemu_codecs.ts [--size 512M] [--runs 3] [--image FILE] [--qemu PATH]`
 */
import type { CodecMeasure, Profile } from "../src/advise/codecs.ts";
import { print, table, tell } from "../src/cli/output.ts";
import { parseCount, parseSize, readOptions } from "./_options.ts";
import { Place } from "./_place.ts";
import { profileOf } from "./_profile.ts";
import { findQemu, methodsOf } from "./_qemu.ts";
import { measureQemu } from "./_qemu_costs.ts";
import { median } from "./_statistics.ts";

/** The engines that are compared with. */
const ENCODER = "isal";
const DECODERS: Record<string, string> = { zlib: "isal", qpl: "libdeflate", qatzip: "libdeflate" };

const values = readOptions({
  size: { type: "string", default: "512M" },
  runs: { type: "string", default: "3" },
  image: { type: "string" },
  qemu: { type: "string" },
});
const size = parseSize(values.size);
const runs = parseCount(values.runs);
const place = new Place(5 * size);

function find(profile: Profile, method: string, engine: string): CodecMeasure {
  const found = profile.codecs.find((codec) =>
    codec.method === method && codec.engine === engine && !codec.dense
  );
  if (found === undefined) throw new Error(`no ${engine}: deno task build:native builds the shim`);
  return found;
}

/** QEMU's figures by ours of one round. */
interface Ratios {
  encode: number[];
  decode: number[];
  left: number[];
}

const qemu = findQemu(values.qemu);
if (qemu === undefined) throw new Error("No QEMU: deno task build:qemu builds one (--qemu)");
const methods = await methodsOf(qemu, Object.keys(DECODERS));
const image = place.image(size, values.image);
const ratios = new Map(methods.map((method): [string, Ratios] => [
  method,
  { encode: [], decode: [], left: [] },
]));
for (let round = 1; round <= runs; round++) {
  tell(`round ${round} of ${runs}`);
  const before = await profileOf(image, methods);
  const { codecs } = await measureQemu(qemu, place, image, size, methods);
  const after = await profileOf(image, methods);
  for (const [method, found] of ratios) {
    const theirs = codecs[method]!;
    const seconds = (way: "encode" | "decode", engine: string): number =>
      [before, after].reduce(
        (sum, profile) => sum + find(profile, method, engine)[way]!.secondsPerByte / 2,
        0,
      );
    found.encode.push(theirs.encode / seconds("encode", ENCODER));
    found.decode.push(theirs.decode / seconds("decode", DECODERS[method]!));
    found.left.push(theirs.left / find(before, method, ENCODER).left);
  }
}
print(`QEMU ${qemu.version}, of ours, median of ${runs}`);
print(table([
  ["method", "encode", "decode", "left"],
  ...[...ratios].map(([method, { encode, decode, left }]) => [
    method,
    ...[encode, decode, left].map((found) => median(found).toFixed(2)),
  ]),
]));
