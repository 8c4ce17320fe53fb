import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { PacketNumbers } from "../../src/channels/packet_numbers.ts";
import { type RamPacket, syncPacket } from "../../src/protocol/ram_packet.ts";

function numbersOf(packets: (number | Partial<RamPacket>)[]): PacketNumbers {
  const numbers = new PacketNumbers();
  for (const packet of packets) {
    const fields = typeof packet === "number" ? { packetNum: packet, flags: 0 } : packet;
    numbers.add({ ...syncPacket(0), ...fields });
  }
  return numbers;
}

/** The numbers of one of two channels that take turns. */
const even = (count: number): number[] => Array.from({ length: count }, (_, i) => 2 * i);
const odd = (count: number): number[] => even(count).map((number) => number + 1);

const CASES: [what: string, packets: (number | Partial<RamPacket>)[], gap: number | undefined][] = [
  ["in order", [0, 1, 2, 3], undefined],
  ["in any order", [3, 1, 0, 2], undefined],
  ["with repeats", [0, 0, 1, 1, 2], undefined],
  ["without the first", [1, 2, 3], 0],
  ["with one missing", [0, 1, 3, 4], 2],
  ["with a far one", [0, 1, 2 ** 50], 2],
  ["with a kept one that comes again", [1, 1, 0, 2], undefined],
  ["with many kept ones and the first missing", odd(200_000), 0],
  [
    "when one channel is heard of long before another",
    [...odd(200_000), ...even(200_001)],
    undefined,
  ],
  ["when one of the other channel is missing", [...odd(70_000), ...even(70_000).slice(1)], 0],
  ["at the end of what is kept", [2 ** 26 - 1], 0],
];

for (const [what, packets, gap] of CASES) {
  test(`PacketNumbers ${gap === undefined ? "has no gap" : `has a gap at ${gap}`} ${what}`, () => {
    assertEquals(numbersOf(packets).gap, gap);
  });
}

test("PacketNumbers is lenient with QEMU 7.2 and 8, by their SYNC packets", () => {
  assertEquals(numbersOf([syncPacket(0), 1, 2]).isLenient, false);
  assertEquals(numbersOf([{ ...syncPacket(0), pagesAlloc: 128 }, 1, 2]).isLenient, true);
});

test("PacketNumbers is strict with a sender that counts zero pages, whatever its SYNC packets", () => {
  const packets = [{ ...syncPacket(0), pagesAlloc: 128 }, { packetNum: 1, flags: 0, zeroPages: 3 }];
  assertEquals(numbersOf(packets).isLenient, false);
});
