/** Damage to bytes: blind, and values that are likely to be on the wrong side of a check. */
import { joined } from "../methods/_pages.ts";
import type { Random } from "../_random.ts";

const NUMBERS: Record<1 | 2 | 4 | 8, readonly bigint[]> = {
  1: [0n, 1n, 2n, 5n, 6n, 8n, 0x7en, 0x7fn, 0x80n, 0xffn],
  2: [0n, 1n, 3n, 4n, 5n, 255n, 256n, 0x7fffn, 0xffffn],
  4: [
    ...[0n, 1n, 2n, 4n, 7n, 8n, 9n, 127n, 128n, 129n, 255n, 256n, 4095n, 4096n, 4097n, 65536n],
    ...[2n ** 20n, 2n ** 20n + 1n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n],
  ],
  8: [
    ...[0n, 1n, 4095n, 4096n, 8192n, 65536n, 2n ** 31n, 2n ** 32n - 4096n, 2n ** 32n],
    ...[2n ** 40n, 2n ** 53n - 4096n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n - 1n, 2n ** 63n],
    ...[2n ** 64n - 65536n, 2n ** 64n - 4096n, 2n ** 64n - 1n],
  ],
};

/** Sizes of a field, in bytes. */
export type FieldSize = keyof typeof NUMBERS;

/** A number of so many bytes that is likely to break something. */
export function extremeNumber(size: FieldSize, random: Random): bigint {
  return random.pick(NUMBERS[size]);
}

/** Big-endian bytes of a number. */
export function bigEndian(value: bigint, size: FieldSize): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => Number(value >> BigInt(8 * (size - 1 - i))));
}

/** A copy with an extreme number, or one next to what is there, in one big-endian field. */
export function withExtreme(
  bytes: Uint8Array,
  at: number,
  size: FieldSize,
  random: Random,
): Uint8Array {
  const copy = bytes.slice();
  if (at + size > copy.length) return copy;
  let value = 0n;
  for (const byte of copy.subarray(at, at + size)) value = value << 8n | BigInt(byte);
  const near = value + random.pick([-1n, 1n, 4096n, -4096n, value]);
  copy.set(bigEndian(random.below(3) === 0 ? near : extremeNumber(size, random), size), at);
  return copy;
}

type Damage = (bytes: Uint8Array, random: Random) => Uint8Array;

/** Each gets a copy of at least one byte. */
const DAMAGES: readonly Damage[] = [
  function flipBits(bytes, random) {
    for (let i = 1 + random.below(8); i > 0; i--) {
      bytes[random.below(bytes.length)]! ^= 1 << random.below(8);
    }
    return bytes;
  },
  function flipBitAtStart(bytes, random) {
    bytes[random.below(Math.min(40, bytes.length))]! ^= 1 << random.below(8);
    return bytes;
  },
  function setBytes(bytes, random) {
    const at = random.below(bytes.length);
    return bytes.fill(random.pick([0x00, 0xff, 0x55]), at, at + 1 + random.below(32));
  },
  function cutEnd(bytes, random) {
    return bytes.subarray(0, random.below(bytes.length));
  },
  function cutStart(bytes, random) {
    return bytes.subarray(1 + random.below(Math.min(16, bytes.length)));
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
    const piece = bytes.subarray(at, at + 1 + random.below(Math.min(4096, bytes.length)));
    return joined([bytes.subarray(0, at), piece, piece, bytes.subarray(at + piece.length)]);
  },
  function setNumber(bytes, random) {
    const size = random.pick([1, 2, 4, 8] as const);
    return withExtreme(bytes, random.below(bytes.length), size, random);
  },
  function setNumberAtStart(bytes, random) {
    const size = random.pick([2, 4, 8] as const);
    const number = bigEndian(extremeNumber(size, random), size);
    const at = random.below(40);
    if (at + size > bytes.length) return bytes;
    // the compressed formats are little-endian
    bytes.set(random.below(2) === 0 ? number : number.reverse(), at);
    return bytes;
  },
  function noise(_bytes, random) {
    return random.bytes(1 + random.below(8000));
  },
  function noiseBehindStart(bytes, random) {
    return joined([bytes.subarray(0, random.below(40)), random.bytes(1 + random.below(300))]);
  },
];

/** Damages bytes once or a few times. */
export function damaged(bytes: Uint8Array, random: Random): Uint8Array {
  let result: Uint8Array = bytes.slice();
  for (let i = 1 + random.below(3); i > 0 && result.length > 0; i--) {
    result = random.pick(DAMAGES)(result.slice(), random);
  }
  return result;
}

/** Damages what is near the start or the end: where a large input is not pages or text. */
export function damagedAtEnds(bytes: Uint8Array, most: number, random: Random): Uint8Array {
  const size = Math.min(most, bytes.length);
  const rest = bytes.length - size;
  if (random.below(2) === 0) {
    return joined([damaged(bytes.subarray(0, size), random), bytes.subarray(size)]);
  }
  return joined([bytes.subarray(0, rest), damaged(bytes.subarray(rest), random)]);
}

/** Cuts bytes into pieces of random sizes. */
export function* pieces(bytes: Uint8Array, most: number, random: Random): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length;) {
    const end = at + 1 + random.below(most);
    yield bytes.slice(at, end);
    at = end;
  }
}

/** Any JSON value, nested a little; the keys are the caller's. */
export function anything(random: Random, keys: readonly string[], depth = 0): unknown {
  const simple = [null, true, 0, -1, 1.5, 1e300, 2 ** 53, "", "cpu", "../x", "\0", [], {}];
  if (depth > 3 || random.below(3) === 0) return random.pick(simple);
  const some = Array.from({ length: random.below(4) }, () => anything(random, keys, depth + 1));
  if (random.below(2) === 0) return some;
  return Object.fromEntries(some.map((value) => [random.pick(keys), value]));
}

/** Replaces a value somewhere in a JSON value, or removes it. */
export function withAnything(value: unknown, random: Random, keys: readonly string[]): unknown {
  const isNode = typeof value === "object" && value !== null;
  if (!isNode || random.below(4) === 0) return anything(random, keys);
  const entries = Object.entries(value);
  if (entries.length === 0) return anything(random, keys);
  const [key, inner] = random.pick(entries);
  const isGone = random.below(8) === 0;
  if (Array.isArray(value)) {
    const changed = [...value];
    if (isGone) changed.splice(Number(key), 1);
    else changed[Number(key)] = withAnything(inner, random, keys);
    return changed;
  }
  const rest = entries.filter(([name]) => name !== key);
  return Object.fromEntries(isGone ? rest : [...rest, [key, withAnything(inner, random, keys)]]);
}
