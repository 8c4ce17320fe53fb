import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { ProtocolError } from "../../src/errors.ts";
import {
  DEVICE_STATE_HEADER_SIZE,
  DEVICE_STATE_MAX_SIZE,
  parseDeviceStatePacket,
} from "../../src/protocol/device_state_packet.ts";
import { assertRefused, type Bytes, concat, patch, text, u32 } from "./_build.ts";

const idstr = "0000:00:03.0/vfio";
const valid = concat(
  ...[0x11223344, 1, 0x40].map(u32),
  text(idstr),
  new Uint8Array(256 - idstr.length),
  ...[2, 4096].map(u32),
);

test("parseDeviceStatePacket() reads idstr, instance_id and next_packet_size of 276 bytes", () => {
  assertEquals(valid.length, DEVICE_STATE_HEADER_SIZE);
  assertEquals(DEVICE_STATE_HEADER_SIZE, 276);
  assertEquals(parseDeviceStatePacket(valid), { idstr, instanceId: 2, nextPacketSize: 4096 });
});

test("parseDeviceStatePacket() takes an idstr of 255 bytes and any instance", () => {
  const long = patch(patch(valid, 12, new Uint8Array(255).fill(65)), 268, u32(0xffffffff));
  const { idstr, instanceId } = parseDeviceStatePacket(long);
  assertEquals([idstr, instanceId], ["A".repeat(255), 0xffffffff]);
});

test("parseDeviceStatePacket() takes a payload at its bound", () => {
  const { nextPacketSize } = parseDeviceStatePacket(patch(valid, 272, u32(DEVICE_STATE_MAX_SIZE)));
  assertEquals(nextPacketSize, DEVICE_STATE_MAX_SIZE);
});

const broken: [what: string, at: number, part: Bytes, words: string, facts?: object][] = [
  ["a wrong magic", 0, u32(0x5145564d), "wrong magic", { received: "0x5145564d" }],
  ["a wrong version", 4, u32(0), "wrong version", { received: 0 }],
  ["an unknown flag", 8, u32(0xc0), "unknown flags", { received: "0x80" }],
  ["a RAM packet", 8, u32(0), "not device state"],
  ["SYNC with device state", 8, u32(0x41), "both SYNC and device state", { received: "0x41" }],
  ["an empty idstr", 12, [0], "names no device"],
  ["an idstr without an end", 12, new Uint8Array(256).fill(65), "names no device"],
  ["an idstr that is not UTF-8", 12, [0xff], "names no device"],
  ["an empty payload", 272, u32(0), `"${idstr}" is empty`],
  ["a payload past its bound", 272, u32(DEVICE_STATE_MAX_SIZE + 1), "too large"],
  ["a payload of 2^32 - 1", 272, u32(0xffffffff), "too large", { received: 4294967295 }],
];

for (const [what, at, part, words, facts] of broken) {
  test(`parseDeviceStatePacket() rejects ${what}`, () => {
    const bytes = patch(valid, at, part);
    assertRefused(() => parseDeviceStatePacket(bytes), ProtocolError, words, facts);
  });
}

for (const length of [0, 12, 275, 277]) {
  test(`parseDeviceStatePacket() rejects ${length} bytes`, () => {
    const bytes = concat(valid, [0]).subarray(0, length);
    const facts = { expected: 276, received: length };
    assertRefused(() => parseDeviceStatePacket(bytes), ProtocolError, "wrong length", facts);
  });
}
