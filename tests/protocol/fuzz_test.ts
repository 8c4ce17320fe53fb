/**
 * Blind and structure-aware fuzzing of every parser. `FUZZ_CASES` raises the number of cases;
 * a failure names the seed and the case, which alone decide the case's bytes.
 */
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import {
  type MultifdError,
  PeerClosedError,
  ProtocolError,
  UnsupportedError,
  VerificationError,
} from "../../src/errors.ts";
import { parseDeviceStatePacket } from "../../src/protocol/device_state_packet.ts";
import { encodeGreeting, parseGreeting } from "../../src/protocol/greeting.ts";
import { MainChannelReader } from "../../src/protocol/main_channel_reader.ts";
import {
  encodeRamPacket,
  parseRamPacket,
  type RamBlock,
  ramPacketHeaderSize,
} from "../../src/protocol/ram_packet.ts";
import { encodeReturnPathMessage, ReturnPathReader } from "../../src/protocol/return_path.ts";
import { parseVmTail, VmTailReader } from "../../src/protocol/vm_tail.ts";
import { Random } from "../_random.ts";
import {
  BLOCKS,
  concat,
  description,
  device,
  end,
  EOS,
  FLUSH,
  footer,
  name,
  only,
  PAGE,
  part,
  PER_SECTION,
  read,
  readPieces,
  record,
  recording,
  split,
  stream,
  subsection,
  tail,
  text,
  u16,
  u32,
  u64,
} from "./_build.ts";

const SEED = 20_250_101;

function wantedCases(): number {
  try {
    return Number(process.env.FUZZ_CASES) || 3000;
  } catch {
    return 3000;
  }
}
const CASES = wantedCases();

// deno-lint-ignore no-explicit-any
type ErrorClass = new (...args: any[]) => MultifdError;

/** Runs `one` on many random cases; it may throw only errors of exactly these classes. */
function fuzz(what: string, allowed: ErrorClass[], one: (random: Random) => void): void {
  test(what, () => {
    for (let i = 0; i < CASES; i++) {
      try {
        one(new Random(SEED + i));
      } catch (error) {
        if (allowed.some((Class) => (error as Error)?.constructor === Class)) continue;
        throw new Error(`${what}: seed ${SEED}, case ${i}: ${error}`, { cause: error });
      }
    }
  });
}

/** Flips, cuts, inserts or repeats a few bytes. */
function mutate(valid: Uint8Array, random: Random): Uint8Array {
  let bytes: Uint8Array = valid.slice();
  for (let i = 1 + random.below(4); i > 0; i--) {
    const at = random.below(bytes.length + 1);
    const kind = random.below(6);
    if (kind < 3 && at < bytes.length) bytes[at] = bytes[at]! ^ (1 << random.below(8));
    else if (kind === 3) bytes = bytes.subarray(0, at);
    else if (kind === 4) {
      const more = random.bytes(1 + random.below(9));
      bytes = concat(bytes.subarray(0, at), more, bytes.subarray(at));
    } else {
      const again = bytes.subarray(at, at + random.below(64));
      bytes = concat(bytes.subarray(0, at), again, bytes.subarray(at));
    }
  }
  return bytes;
}

/** Random bytes, or a mutated valid input. */
function blind(valid: Uint8Array, random: Random): Uint8Array {
  if (random.below(4) > 0) return mutate(valid, random);
  const bytes = random.bytes(random.below(2 * valid.length));
  // half of them with a start that is believed
  if (random.below(2) === 0) bytes.set(valid.subarray(0, Math.min(8, bytes.length)));
  return bytes;
}

const EXTREMES_32 = [0, 1, 2, 127, 128, 129, 4095, 4096, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1];
const EXTREMES_64 = [
  ...[0n, 1n, 4095n, 4096n, 2n ** 31n, 2n ** 32n - 4096n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n],
  ...[2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 4096n, 2n ** 64n - 1n],
];

/** One field, an extreme value in it. */
function extreme(bytes: Uint8Array, at: number, size: number, random: Random): Uint8Array {
  const copy = bytes.slice();
  if (size === 8) copy.set(u64(random.pick(EXTREMES_64)), at);
  else if (size === 4) copy.set(u32(random.pick(EXTREMES_32)), at);
  else if (size === 2) copy.set(u16(random.pick([0, 1, 3, 4, 5, 255, 0x7fff, 0xffff])), at);
  else copy[at] = random.pick([0, 1, 5, 6, 8, 0x7e, 0x7f, 0x80, 0xff]);
  return copy;
}

const greeting = encodeGreeting({ id: 1, uuid: new Uint8Array(16) });

fuzz("parseGreeting() survives random bytes", [ProtocolError], (random) => {
  parseGreeting(blind(greeting, random));
});

fuzz("parseGreeting() survives extreme fields", [ProtocolError], (random) => {
  const [at, size] = random.pick([[0, 4], [4, 4], [8, 8], [24, 1], [25, 1], [32, 8]] as const);
  const { id, uuid } = parseGreeting(extreme(greeting, at, size, random));
  assert(id >= 0 && id < 256 && uuid.length === 16);
});

const blocks = new Map<string, RamBlock>([
  ...BLOCKS.map((block) => [block.name, block] as const),
  ["none", { name: "none", usedLength: 0 }],
  ["tiny", { name: "tiny", usedLength: 512 }],
]);

function ramPacket(random: Random, pageSize: number): Uint8Array {
  const bytes = new Uint8Array(ramPacketHeaderSize(pageSize));
  const normalPages = random.below(3);
  const zeroPages = random.below(3);
  encodeRamPacket(
    {
      flags: random.pick([0, 1, 2, 3, 5, 8]),
      packetNum: random.u32(),
      pagesAlloc: 8,
      nextPacketSize: normalPages > 0 ? random.u32() : 0,
      normalPages,
      zeroPages,
      block: random.pick(["pc.ram", "vga.vram", "none", "tiny"]),
      offsets: new Float64Array(4).map(() => random.below(2) * pageSize),
    },
    pageSize,
    bytes,
  );
  return bytes;
}

/** Parses, and checks what a caller relies on: all pages lie in their block. */
function checkRamPacket(bytes: Uint8Array, pageSize: number): void {
  const packet = parseRamPacket(bytes, pageSize, blocks);
  assertEquals(packet.offsets.length, packet.normalPages + packet.zeroPages);
  assert(packet.offsets.length <= 524288 / pageSize);
  for (const offset of packet.offsets) {
    const { usedLength } = blocks.get(packet.block!)!;
    assert(offset >= 0 && offset % pageSize === 0 && offset + pageSize <= usedLength);
  }
}

fuzz("parseRamPacket() survives random bytes", [ProtocolError], (random) => {
  checkRamPacket(blind(ramPacket(random, PAGE), random), PAGE);
});

fuzz("parseRamPacket() survives extreme fields", [ProtocolError], (random) => {
  const pageSize = random.pick([4096, 8192, 16384, 32768, 65536]);
  const fields = [[12, 4], [16, 4], [20, 4], [24, 8], [32, 4], [64, 1], [320, 8], [
    328,
    8,
  ]] as const;
  const [at, size] = random.pick([[8, 4], ...fields] as const);
  checkRamPacket(extreme(ramPacket(random, pageSize), at, size, random), pageSize);
});

const deviceState = concat(
  ...[0x11223344, 1, 0x40].map(u32),
  text("vfio".padEnd(256, "\0")),
  ...[0, 100].map(u32),
);

fuzz("parseDeviceStatePacket() survives random bytes", [ProtocolError], (random) => {
  parseDeviceStatePacket(blind(deviceState, random));
});

fuzz("parseDeviceStatePacket() survives extreme fields", [ProtocolError], (random) => {
  const [at, size] = random.pick([[8, 4], [12, 1], [267, 1], [268, 4], [272, 4]] as const);
  const { nextPacketSize } = parseDeviceStatePacket(extreme(deviceState, at, size, random));
  assert(nextPacketSize > 0 && nextPacketSize <= 64 * 1024 * 1024);
});

const answers = concat(
  encodeReturnPathMessage({ type: "pong", value: 7 }),
  encodeReturnPathMessage({ type: "switchover-ack" }),
  encodeReturnPathMessage({ type: "shut", status: 0 }),
);

/** The same messages or the same error for any split; none lost before an error. */
function checkReturnPath(bytes: Uint8Array, random: Random): void {
  const messages = new ReturnPathReader().push(bytes);
  const reader = new ReturnPathReader();
  const pieces = [...split(bytes, () => random.below(9))];
  assertEquals(pieces.flatMap((piece) => reader.push(piece)), messages);
}

fuzz("ReturnPathReader survives random bytes", [ProtocolError], (random) => {
  checkReturnPath(blind(answers, random), random);
});

fuzz("ReturnPathReader survives extreme fields", [ProtocolError], (random) => {
  const at = random.pick([0, 2, 8, 10, 12, 14]);
  checkReturnPath(extreme(answers, at, 2, random), random);
});

const cpu = { name: "cpu", body: new Random(1).bytes(8) };
const short = [
  stream({ tail: tail(cpu) }),
  stream({ part: part(record(2, PAGE), name("pc.ram"), [0], record(0x22), [0], EOS) }, PER_SECTION),
];
const real = ["zstd", "qemu-7.2-zlib"].map((vector) => recording(`${vector}/main.bin`));

/** What a reader tells of these pieces: its events without their bytes, and its error. */
function told(pieces: Iterable<Uint8Array>): string {
  const reader = new MainChannelReader();
  const events: string[] = [];
  try {
    for (const piece of pieces) {
      for (const event of reader.push(piece)) {
        const brief = event.type === "end" ? [event.tail.devices, event.tail.bytes.length] : event;
        events.push(JSON.stringify(brief));
      }
    }
    reader.end();
  } catch (error) {
    // after the end, a split alone decides whether "end" is told before the bytes too many
    const message = (error as Error).message;
    if (message.startsWith("Stream goes on after the VM description")) throw error;
    events.push(`${error}`);
  }
  return events.join("\n");
}

const MAIN_ERRORS = [ProtocolError, UnsupportedError, PeerClosedError, VerificationError];

/** Reads at once and split: the same events and the same error. */
function checkMain(bytes: Uint8Array, random: Random, most = 40): void {
  const events = told([bytes]);
  assertEquals(told(split(bytes, () => 1 + random.below(most))), events);
  only(read(bytes), "blocks").forEach(({ blocks }) => {
    const total = blocks.reduce((sum, block) => sum + block.usedLength, 0);
    assert(total > 0 && total <= 1024 ** 4 && blocks.length <= 4096);
  });
}

fuzz("MainChannelReader survives random bytes", MAIN_ERRORS, (random) => {
  checkMain(blind(random.pick(short), random), random);
});

test("MainChannelReader survives mutations of QEMU's own streams", () => {
  // every case reads some 80 KB
  for (let i = 0; i < Math.ceil(CASES / 20); i++) {
    const random = new Random(SEED + i);
    try {
      readPieces(split(mutate(random.pick(real), random), () => 1 + random.below(65536)));
    } catch (error) {
      if (MAIN_ERRORS.some((Class) => (error as Error)?.constructor === Class)) continue;
      throw new Error(`seed ${SEED}, case ${i}: ${error}`, { cause: error });
    }
  }
});

/** A stream of valid framing that holds an extreme value in one field. */
function extremeStream(random: Random): Uint8Array {
  const n32 = u32(random.pick(EXTREMES_32));
  const n64 = u64(random.pick(EXTREMES_64));
  const n16 = u16(random.pick([0, 1, 2, 3, 8, 11, 12, 0x7fff, 0xffff]));
  const ram = concat([1], u32(2), name("ram"), u32(0), u32(4));
  const flagged = record(random.pick([2, 4, 8, 0x22]), random.pick(EXTREMES_64) & ~0xfffn);
  const sized = (...blocks: Uint8Array[]) => concat(ram, ...blocks, FLUSH, EOS, footer());
  const filled = concat(name("pc.ram"), new Uint8Array(PAGE));
  return random.pick([
    () => stream({ head: concat(text("QEVM"), u32(3), [7], n32, text("pc")) }),
    () => stream({ head: concat(stream().slice(0, 24), subsection("configuration/uuid", n32)) }),
    ...["target-page-bits", "capabilities"].map((title) => () => {
      const head = concat(text("QEVM"), u32(3), [7], u32(2), text("pc"));
      return stream({ head: concat(head, subsection(`configuration/${title}`, n32)) });
    }),
    () => stream({ commands: concat([8], n16, u16(random.pick([0, 4])), n32) }),
    () => stream({ commands: concat([8], u16(2), n16, n32) }),
    () => stream({ start: sized(n64) }),
    () => stream({ start: sized(record(4, PAGE), name("pc.ram"), n64) }),
    () => stream({ start: sized(u64(random.pick(EXTREMES_64) & ~0xfffn | 4n), filled) }),
    () => stream({ part: part(n64, filled, EOS) }),
    () => stream({ part: part(flagged, filled, EOS) }),
    () => stream({ end: end(flagged, filled, FLUSH, EOS) }),
    () => stream({ part: concat([2], n32, EOS, footer()) }),
    () => stream({ part: concat([2], u32(2), EOS, [0x7e], n32) }),
    () => stream({ tail: concat([0, 6], n32, text("{}")) }),
  ])();
}

fuzz("MainChannelReader survives extreme fields", MAIN_ERRORS, (random) => {
  checkMain(extremeStream(random), random, 500);
});

// What the reader keeps is bounded: outside the tail no wait is longer than one page of 64 KiB
// (names and machine types are 255 bytes at most, a list of blocks 4096 of 263 bytes), and the
// tail holds 256 MiB at most. So an endless stream of zeros after any announced length must be
// refused, or read on, within that much.
fuzz("MainChannelReader waits for no more than a page before the tail", MAIN_ERRORS, (random) => {
  const bytes = extremeStream(random);
  const reader = new MainChannelReader();
  for (const event of reader.push(bytes.subarray(0, random.below(bytes.length)))) {
    if (event.type === "ram-end") return;
  }
  for (let fed = 0; fed < 4; fed++) {
    const waiting = reader.expecting;
    assert(!waiting.startsWith("the VM description"));
    for (const { type } of reader.push(new Uint8Array(65536))) assert(type !== "ram-end");
  }
  throw new Error("still reading zeros");
});

const tails = [tail(cpu, { ...cpu, instance: 1 }), description("{}")];

fuzz("VmTailReader survives random bytes", [ProtocolError, VerificationError], (random) => {
  const bytes = blind(random.pick(tails), random);
  const reader = new VmTailReader(footer());
  for (const piece of split(bytes, () => 1 + random.below(200))) {
    const found = reader.push(piece);
    if (found !== undefined) {
      assertEquals(found.bytes, bytes.slice(0, found.bytes.length));
      return;
    }
  }
});

fuzz("parseVmTail() survives random bytes", [ProtocolError, VerificationError], (random) => {
  const bytes = blind(random.pick(tails), random);
  assertEquals(parseVmTail(bytes, "tail").bytes, bytes);
});

/** Any JSON value, nested a little. */
function anything(random: Random, depth = 0): unknown {
  const simple = [null, true, 0, -1, 1.5, 1e300, 2 ** 53, "", "cpu", "fields"];
  if (depth > 3 || random.below(3) === 0) return random.pick(simple);
  const some = Array.from({ length: random.below(4) }, () => anything(random, depth + 1));
  const keys = ["name", "instance_id", "fields", "size", "array_len", "subsections", "vmsd_name"];
  if (random.below(2) === 0) return some;
  return Object.fromEntries(some.map((value) => [random.pick(keys), value]));
}

fuzz("VmTailReader survives any JSON", [ProtocolError, VerificationError], (random) => {
  const field: Record<string, unknown> = { size: 8 };
  const sub: Record<string, unknown> = { vmsd_name: "sub", fields: [field] };
  const one: Record<string, unknown> = { name: "cpu", instance_id: 0, fields: [field] };
  if (random.below(2) === 0) one.subsections = [sub];
  const all: Record<string, unknown> = { devices: [one] };
  const target = random.pick([field, sub, one, all]);
  target[random.pick([...Object.keys(target), "array_len", "subsections"])] = anything(random);
  const bytes = concat(device(10, cpu), description(JSON.stringify(all)));
  const found = new VmTailReader(footer()).push(bytes);
  const sections = device(10, cpu).length;
  for (const { bytes } of found?.devices ?? []) assertEquals(bytes, sections);
});
