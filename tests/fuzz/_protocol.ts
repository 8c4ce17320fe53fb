/** The parsers of what has a fixed size: greeting, packet headers, return path. */
import { assert, assertEquals } from "@std/assert";
import { PACKET_SIZE, type RamBlock } from "../../src/protocol/ram_packet.ts";
import {
  encodeRamPacket,
  parseRamPacket,
  ramPacketHeaderSize,
} from "../../src/protocol/ram_packet_header.ts";
import { parseDeviceStatePacket } from "../../src/protocol/device_state_packet.ts";
import { encodeGreeting, parseGreeting } from "../../src/protocol/greeting.ts";
import { encodeReturnPathMessage, ReturnPathReader } from "../../src/protocol/return_path.ts";
import { BLOCKS, concat, text, u32 } from "../protocol/_build.ts";
import { Random } from "../_random.ts";
import { damaged, type FieldSize, pieces, withExtreme } from "./_mutate.ts";
import { bytesOf, only, type Target } from "./_target.ts";

type Field = readonly [at: number, size: FieldSize];

/** Valid bytes, blind damage, or a few fields that are wrong; mostly the last. */
export function withDamage(
  valid: Uint8Array,
  fields: readonly Field[],
  random: Random,
): Uint8Array {
  const kind = random.below(8);
  if (kind === 0) return valid;
  if (kind < 3) return damaged(valid, random);
  let bytes = valid;
  for (let i = 1 + random.below(2); i > 0; i--) {
    const [at, size] = random.pick(fields);
    bytes = withExtreme(bytes, at, size, random);
  }
  return bytes;
}

const GREETING_FIELDS: Field[] = [[0, 4], [4, 4], [8, 8], [24, 1], [25, 1], [32, 8]];

const greeting: Target = {
  name: "greeting",
  generate(random) {
    const valid = encodeGreeting({ id: random.below(256), uuid: random.bytes(16) });
    return only(withDamage(valid, GREETING_FIELDS, random));
  },
  run(input) {
    const bytes = bytesOf(input);
    const { id, uuid } = parseGreeting(bytes);
    assertEquals([id, ...uuid], [bytes[24], ...bytes.subarray(8, 24)]);
  },
};

/** A block without pages, and one that is smaller than a page, among others. */
const blocks = new Map<string, RamBlock>([
  ...BLOCKS.map((block) => [block.name, block] as const),
  ["none", { name: "none", usedLength: 0 }],
  ["tiny", { name: "tiny", usedLength: 512 }],
]);

const PACKET_FIELDS: Field[] = [
  ...[[0, 4], [4, 4], [8, 4], [12, 4], [16, 4], [20, 4], [24, 8], [32, 4], [64, 1]] as const,
  ...[[320, 8], [328, 8], [336, 8]] as const,
];

const ramPacket: Target = {
  name: "ram-packet",
  generate(random) {
    const pageSize = random.pick([4096, 4096, 8192, 16384, 32768, 65536]);
    const [normalPages, zeroPages] = [random.below(3), random.below(3)];
    const valid = new Uint8Array(ramPacketHeaderSize(pageSize));
    encodeRamPacket(
      {
        flags: random.pick([0, 1, 2, 3, 5, 8]),
        packetNum: random.u32(),
        pagesAlloc: 8,
        nextPacketSize: normalPages > 0 ? random.u32() : 0,
        normalPages,
        zeroPages,
        block: random.pick(["pc.ram", "pc.ram", "vga.vram", "none", "tiny"]),
        offsets: new Float64Array(4).map(() => random.below(2) * pageSize),
      },
      pageSize,
      valid,
    );
    return only(withDamage(valid, PACKET_FIELDS, random), { pageSize });
  },
  run(input) {
    const pageSize = input.options.pageSize as number;
    const packet = parseRamPacket(bytesOf(input), pageSize, blocks);
    const { offsets, normalPages, zeroPages } = packet;
    assertEquals(offsets.length, normalPages + zeroPages);
    assert(offsets.length <= PACKET_SIZE / pageSize, "more pages than a packet carries");
    for (const offset of offsets) {
      const { usedLength } = blocks.get(packet.block!)!;
      const isInside = offset >= 0 && offset % pageSize === 0 && offset + pageSize <= usedLength;
      assert(isInside, `page at ${offset} of ${usedLength} bytes`);
    }
    const again = new Uint8Array(ramPacketHeaderSize(pageSize));
    encodeRamPacket(packet, pageSize, again);
    assertEquals(parseRamPacket(again, pageSize, blocks), packet);
  },
};

const DEVICE_STATE = concat(
  ...[0x11223344, 1, 0x40].map(u32),
  text("0000:00:03.0/vfio".padEnd(256, "\0")),
  ...[0, 100].map(u32),
);
const DEVICE_STATE_FIELDS: Field[] = [[0, 4], [4, 4], [8, 4], [12, 1], [267, 1], [268, 4], [
  272,
  4,
]];

const deviceState: Target = {
  name: "device-state",
  generate: (random) => only(withDamage(DEVICE_STATE, DEVICE_STATE_FIELDS, random)),
  run(input) {
    const { idstr, nextPacketSize } = parseDeviceStatePacket(bytesOf(input));
    assert(idstr.length > 0 && nextPacketSize > 0 && nextPacketSize <= 64 * 1024 * 1024);
  },
};

const ANSWERS = concat(
  encodeReturnPathMessage({ type: "pong", value: 7 }),
  encodeReturnPathMessage({ type: "switchover-ack" }),
  encodeReturnPathMessage({ type: "shut", status: 0 }),
);
const ANSWER_FIELDS: Field[] = [[0, 2], [2, 2], [8, 2], [10, 2], [12, 2], [14, 2], [16, 4]];

const returnPath: Target = {
  name: "return-path",
  generate: (random) => only(withDamage(ANSWERS, ANSWER_FIELDS, random), { split: random.u32() }),
  run(input) {
    const bytes = bytesOf(input);
    const messages = new ReturnPathReader().push(bytes);
    const reader = new ReturnPathReader();
    const random = new Random(input.options.split as number);
    const told = [...pieces(bytes, 9, random)].flatMap((piece) => reader.push(piece));
    assertEquals(told, messages);
  },
};

/** Greeting, RAM packet, device-state packet, return path. */
export const PROTOCOL_TARGETS: readonly Target[] = [greeting, ramPacket, deviceState, returnPath];
