import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { ProtocolError } from "../../src/errors.ts";
import { encodeGreeting, GREETING_SIZE, parseGreeting } from "../../src/protocol/greeting.ts";
import { Random } from "../_random.ts";
import { assertRefused, concat, patch, recording, u32 } from "./_build.ts";

const uuid = new Random(1).bytes(16);
const valid = encodeGreeting({ id: 3, uuid });

test("encodeGreeting() writes magic, version, uuid, id and 39 reserved zeros", () => {
  assertEquals(valid, concat(u32(0x11223344), u32(1), uuid, [3], new Uint8Array(39)));
});

test("parseGreeting() reads back every id", () => {
  for (let id = 0; id < 256; id++) {
    assertEquals(parseGreeting(encodeGreeting({ id, uuid })), { id, uuid });
  }
});

test("parseGreeting() reads a guest without a uuid as zeros", () => {
  const none = new Uint8Array(16);
  assertEquals(parseGreeting(encodeGreeting({ id: 0, uuid: none })), { id: 0, uuid: none });
});

test("parseGreeting() reads a view in the middle of a buffer", () => {
  const framed = concat([9, 9, 9], valid, [9]);
  assertEquals(parseGreeting(framed.subarray(3, 3 + GREETING_SIZE)), { id: 3, uuid });
});

test("parseGreeting() copies the uuid", () => {
  const bytes = valid.slice();
  const greeting = parseGreeting(bytes);
  bytes.fill(0xff);
  assertEquals(greeting.uuid, uuid);
});

test("parseGreeting() ignores the reserved bytes", () => {
  const bytes = patch(valid, 25, new Uint8Array(39).fill(0xff));
  assertEquals(parseGreeting(bytes), { id: 3, uuid });
});

for (const vector of ["zstd", "qemu-7.2-zlib"]) {
  test(`parseGreeting() reads QEMU's own greetings (${vector})`, () => {
    const ids = ["ch0.bin", "ch1.bin"].map((file) =>
      parseGreeting(recording(`${vector}/${file}`).subarray(0, GREETING_SIZE)).id
    );
    assertEquals(ids.sort(), [0, 1]);
  });
}

for (const length of [0, 4, 63, 65]) {
  test(`parseGreeting() rejects ${length} bytes`, () => {
    const bytes = concat(valid, [0]).subarray(0, length);
    const facts = { expected: 64, received: length };
    assertRefused(() => parseGreeting(bytes), ProtocolError, "wrong length", facts);
  });
}

for (const magic of [0, 0x11223345, 0x91223344, 0x44332211, 0x5145564d]) {
  test(`parseGreeting() rejects the magic 0x${magic.toString(16)}`, () => {
    const bytes = patch(valid, 0, u32(magic));
    const received = `0x${magic.toString(16)}`;
    const facts = { expected: "0x11223344", received };
    assertRefused(() => parseGreeting(bytes), ProtocolError, "wrong magic", facts);
  });
}

for (const version of [0, 2, 0x01000000, 0xffffffff]) {
  test(`parseGreeting() rejects version ${version}`, () => {
    const bytes = patch(valid, 4, u32(version));
    const facts = { expected: 1, received: version };
    assertRefused(() => parseGreeting(bytes), ProtocolError, "wrong version", facts);
  });
}
