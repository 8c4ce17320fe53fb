import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { ProtocolError } from "../../src/errors.ts";
import {
  PAGE_SIZES,
  pagesPerPacket,
  type RamBlock,
  type RamPacket,
  syncPacket,
} from "../../src/protocol/ram_packet.ts";
import {
  encodeRamPacket,
  parsePacketStart,
  parseRamPacket,
  ramPacketHeaderSize,
} from "../../src/protocol/ram_packet_header.ts";
import { Random } from "../_random.ts";
import { assertRefused, type Bytes, concat, patch, recording, text, u32, u64 } from "./_build.ts";

const PAGE = 4096;
const RAM: RamBlock = { name: "pc.ram", usedLength: 1024 * PAGE };
const blocks = new Map([[RAM.name, RAM]]);

/** Two pages with data and one zero page, as zstd sends them. */
const packet: RamPacket = {
  flags: 4,
  packetNum: 5,
  pagesAlloc: 128,
  nextPacketSize: 600,
  normalPages: 2,
  zeroPages: 1,
  block: "pc.ram",
  offsets: new Float64Array([7 * PAGE, 0, 3 * PAGE]),
};

function encode(from: RamPacket, pageSize = PAGE): Uint8Array {
  const bytes = new Uint8Array(ramPacketHeaderSize(pageSize));
  encodeRamPacket(from, pageSize, bytes);
  return bytes;
}

function parse(bytes: Uint8Array, block: RamBlock = RAM): RamPacket {
  return parseRamPacket(bytes, PAGE, new Map([[block.name, block]]));
}

const valid = encode(packet);

test("ramPacketHeaderSize() is 1344 bytes for 4 KiB pages and 384 for 64 KiB", () => {
  assertEquals(PAGE_SIZES.map(pagesPerPacket), [128, 64, 32, 16, 8]);
  assertEquals(PAGE_SIZES.map(ramPacketHeaderSize), [1344, 832, 576, 448, 384]);
});

test("encodeRamPacket() lays out the fields as on the wire", () => {
  assertEquals(
    valid,
    concat(
      ...[0x11223344, 1, 4, 128, 2, 600].map(u32),
      u64(5),
      ...[1, 0].map(u32),
      new Uint8Array(24),
      text("pc.ram"),
      new Uint8Array(250),
      ...[7 * PAGE, 0, 3 * PAGE].map(u64),
      new Uint8Array(8 * 125),
    ),
  );
});

test("encodeRamPacket() overwrites what the header's bytes held before", () => {
  const bytes = new Uint8Array(1344 + 3).fill(0xaa);
  encodeRamPacket(packet, PAGE, bytes);
  assertEquals(bytes, concat(valid, [0xaa, 0xaa, 0xaa]));
});

for (const pageSize of PAGE_SIZES) {
  test(`parseRamPacket() reads back a full packet of ${pageSize}-byte pages`, () => {
    const count = pagesPerPacket(pageSize);
    const full: RamPacket = {
      ...packet,
      pagesAlloc: count,
      packetNum: Number.MAX_SAFE_INTEGER,
      normalPages: count - 3,
      zeroPages: 3,
      offsets: new Float64Array(count).map((_, i) => (count - 1 - i) * pageSize),
    };
    const exact = new Map([["pc.ram", { name: "pc.ram", usedLength: count * pageSize }]]);
    assertEquals(parseRamPacket(encode(full, pageSize), pageSize, exact), full);
  });
}

test("parseRamPacket() reads a view in the middle of a buffer", () => {
  assertEquals(parse(concat([1, 2, 3], valid, [4]).subarray(3, 3 + valid.length)), packet);
});

test("parseRamPacket() keeps offsets exact in a block beyond 4 GiB", () => {
  const usedLength = 2 ** 50;
  const offset = usedLength - PAGE;
  const bytes = patch(valid, 320, u64(offset));
  assertEquals(parse(bytes, { name: "pc.ram", usedLength }).offsets[0], offset);
});

test("syncPacket() is flags 1, its number, and zeros", () => {
  const bytes = encode(syncPacket(9));
  assertEquals(
    bytes,
    concat(...[0x11223344, 1, 1].map(u32), new Uint8Array(12), u64(9), new Uint8Array(1312)),
  );
  assertEquals(parse(bytes), syncPacket(9));
});

const overflowing = concat(u32(128), u32(600), u64(5), u32(0xffffff82));

const broken: [what: string, at: number, part: Bytes, words: string, facts?: object][] = [
  ["a wrong magic", 0, u32(0x11223345), "wrong magic", { received: "0x11223345" }],
  ["a wrong version", 4, u32(2), "wrong version", { expected: 1, received: 2 }],
  ["an unknown flag", 8, u32(0x84), "unknown flags", { received: "0x80" }],
  ["the topmost flag", 8, u32(0x80000004), "unknown flags", { received: "0x80000000" }],
  ["a device-state flag", 8, u32(0x40), "device state, not RAM", { received: "0x40" }],
  ["SYNC with device state", 8, u32(0x41), "both SYNC and device state"],
  ["pages_alloc beyond a packet", 12, u32(129), "pages_alloc", { expected: "at most 128" }],
  ["pages_alloc of 2^32 - 1", 12, u32(0xffffffff), "pages_alloc", { received: 4294967295 }],
  ["normal_pages over pages_alloc", 16, u32(129), "more normal pages", { received: 129 }],
  ["normal_pages of 2^32 - 1", 16, u32(0xffffffff), "more normal pages"],
  ["normal_pages where pages_alloc is 0", 12, u32(0), "more normal pages", { received: 2 }],
  ["zero_pages over the rest", 32, u32(127), "more zero pages", { expected: "at most 126" }],
  ["zero_pages of 2^32 - 1", 32, u32(0xffffffff), "more zero pages"],
  ["counts that add up to 2 in 32 bits", 16, overflowing, "more zero pages"],
  ["a packet_num of 2^53", 24, u64(2 ** 53), "packet_num", { received: "0x20000000000000" }],
  ["a packet_num of 2^64 - 1", 24, u64(2n ** 64n - 1n), "packet_num"],
  ["a payload with zero pages only", 16, u32(0), "announces a payload", { received: 600 }],
  ["a block name without an end", 64, new Uint8Array(256).fill(65), "has no end"],
  ["an empty block name", 64, [0], "unknown RAM block", { received: "no name" }],
  ["a block name that is not UTF-8", 64, [0xff, 0], "unknown RAM block", { received: "no name" }],
  ["an unknown block", 64, text("pc.rom"), "unknown RAM block", { received: '"pc.rom"' }],
  ["a prefix of a block's name", 64, text("pc.ra\0"), "unknown RAM block"],
  ["an offset inside a page", 320, u64(1), "page 0 is not page-aligned", { offset: 1 }],
  ["an offset past the last page", 328, u64(1024 * PAGE), "page 1 is past the end"],
  ["a zero page past the end", 336, u64(1024 * PAGE), "page 2 is past", { block: "pc.ram" }],
  ["an offset of 2^32", 320, u64(2 ** 32), "past the end", { offset: 2 ** 32 }],
  ["an offset of 2^63", 320, u64(2n ** 63n), "past the end", { offset: 2 ** 63 }],
  ["an offset of 2^64 - 4096", 320, u64(2n ** 64n - 4096n), "past the end"],
  ["an offset of 2^64 - 1", 320, u64(2n ** 64n - 1n), "past the end"],
];

for (const [what, at, part, words, facts] of broken) {
  test(`parseRamPacket() rejects ${what}`, () => {
    const bytes = patch(valid, at, part);
    assertRefused(() => parse(bytes), ProtocolError, words, facts);
  });
}

for (const length of [0, 11, 12, 1343, 1345]) {
  test(`parseRamPacket() rejects a header of ${length} bytes`, () => {
    const bytes = concat(valid, [0]).subarray(0, length);
    const facts = { expected: 1344, received: length };
    assertRefused(() => parse(bytes), ProtocolError, "wrong length", facts);
  });
}

for (const usedLength of [0, 1, PAGE - 1]) {
  test(`parseRamPacket() rejects offset 0 in a block of ${usedLength} bytes`, () => {
    const tiny = { name: "pc.ram", usedLength };
    const bytes = patch(valid, 320, new Uint8Array(24));
    assertRefused(() => parse(bytes, tiny), ProtocolError, "past the end", { offset: 0 });
  });
}

test("parseRamPacket() accepts the last page and no later one", () => {
  for (const pageSize of PAGE_SIZES) {
    const one = { ...packet, pagesAlloc: 1, normalPages: 1, zeroPages: 0 };
    const at = (offset: number) =>
      encode({ ...one, offsets: new Float64Array([offset]) }, pageSize);
    const exact = new Map([["pc.ram", { name: "pc.ram", usedLength: 3 * pageSize }]]);
    const last = 2 * pageSize;
    assertEquals(parseRamPacket(at(last), pageSize, exact).offsets[0], last);
    assertRefused(
      () => parseRamPacket(at(last + pageSize), pageSize, exact),
      ProtocolError,
      "past the end",
    );
    assertRefused(
      () => parseRamPacket(at(last + pageSize / 2), pageSize, exact),
      ProtocolError,
      "not page-aligned",
    );
  }
});

test("parseRamPacket() accepts zero pages only, with the method's bits", () => {
  const zeros = { ...packet, nextPacketSize: 0, normalPages: 0, zeroPages: 3 };
  assertEquals(parse(encode(zeros)), zeros);
});

for (const flags of [3, 5]) {
  test(`parseRamPacket() accepts pages in a SYNC packet, flags ${flags} (QEMU 7.2)`, () => {
    assertEquals(parse(encode({ ...packet, flags })), { ...packet, flags });
  });
}

for (const flags of [0, 1]) {
  test(`parseRamPacket() tolerates stale fields without pages, flags ${flags} (QEMU 7.2)`, () => {
    const stale = concat(text("gone\0"), new Uint8Array(251).fill(0xee));
    let bytes = encode({ ...packet, flags, normalPages: 0, zeroPages: 0 });
    bytes = patch(patch(bytes, 64, stale), 320, new Uint8Array(1024).fill(0xff));
    const { block, offsets, nextPacketSize } = parse(bytes);
    assertEquals([block, offsets.length, nextPacketSize], [undefined, 0, 600]);
  });
}

for (const pagesAlloc of [0, 128]) {
  test(`parseRamPacket() accepts a SYNC packet with pages_alloc ${pagesAlloc}`, () => {
    assertEquals(parse(encode({ ...syncPacket(1), pagesAlloc })).pagesAlloc, pagesAlloc);
  });
}

test("parseRamPacket() ignores the reserved bytes", () => {
  assertEquals(parse(patch(valid, 36, new Uint8Array(28).fill(0xff))), packet);
});

test("parsePacketStart() needs no more than twelve bytes", () => {
  assertEquals(parsePacketStart(valid.subarray(0, 12)), 4);
  assertEquals(parsePacketStart(patch(valid, 8, u32(0x40)).subarray(0, 12)), 0x40);
});

interface Expected {
  blocks: Record<string, { used_length: number }>;
}

/** Every packet on a recorded channel. */
function recordedPackets(vector: string, file: string): RamPacket[] {
  const json = new TextDecoder().decode(recording(`${vector}/expected.json`));
  const expected: Expected = JSON.parse(json);
  const known = new Map(
    Object.entries(expected.blocks).map((
      [name, { used_length: usedLength }],
    ) => [name, { name, usedLength }]),
  );
  const bytes = recording(`${vector}/${file}`);
  const packets: RamPacket[] = [];
  let at = 64;
  while (at < bytes.length) {
    const packet = parseRamPacket(bytes.subarray(at, at + 1344), PAGE, known);
    at += 1344 + (packet.normalPages > 0 ? packet.nextPacketSize : 0);
    packets.push(packet);
  }
  assertEquals(at, bytes.length);
  return packets;
}

test("parseRamPacket() reads every packet of QEMU 10.0, numbered without a gap", () => {
  const packets = ["ch0.bin", "ch1.bin"].flatMap((file) => recordedPackets("zstd", file));
  const numbers = packets.map((packet) => packet.packetNum).sort((a, b) => a - b);
  assertEquals(numbers, numbers.map((_, i) => i));
  assert(packets.some((packet) => packet.zeroPages > 0));
  for (const packet of packets.filter((packet) => packet.flags === 1)) {
    assertEquals([packet.normalPages, packet.zeroPages, packet.nextPacketSize], [0, 0, 0]);
  }
});

test("parseRamPacket() reads every packet of QEMU 7.2", () => {
  const channels = ["ch0.bin", "ch1.bin"].map((file) => recordedPackets("qemu-7.2-zlib", file));
  for (const packets of channels) {
    assertEquals(packets.filter((packet) => (packet.flags & 1) !== 0).length > 1, true);
    assert(packets.some((packet) => packet.normalPages === 0 && packet.nextPacketSize !== 0));
  }
  assert(channels.flat().every((packet) => packet.zeroPages === 0));
});

test("encodeRamPacket() and parseRamPacket() agree on random packets", () => {
  const random = new Random(2);
  for (let i = 0; i < 500; i++) {
    const pageSize = random.pick(PAGE_SIZES);
    const pagesAlloc = 1 + random.below(pagesPerPacket(pageSize));
    const normalPages = 1 + random.below(pagesAlloc);
    const zeroPages = random.below(pagesAlloc - normalPages + 1);
    const offsets = new Float64Array(normalPages + zeroPages)
      .map(() => random.below(RAM.usedLength / pageSize) * pageSize);
    const one: RamPacket = {
      ...packet,
      ...{ flags: 2 * random.below(32) + random.below(2), packetNum: random.u32() * 1000 },
      ...{ pagesAlloc, normalPages, zeroPages, offsets, nextPacketSize: random.u32() },
    };
    assertEquals(parseRamPacket(encode(one, pageSize), pageSize, blocks), one);
  }
});
