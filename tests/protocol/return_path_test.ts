import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { ProtocolError } from "../../src/errors.ts";
import {
  encodeReturnPathMessage,
  type ReturnPathMessage,
  ReturnPathReader,
} from "../../src/protocol/return_path.ts";
import { Random } from "../_random.ts";
import { assertRefused, concat, split, u16, u32 } from "./_build.ts";

const messages: ReturnPathMessage[] = [
  { type: "pong", value: 0x12345678 },
  { type: "switchover-ack" },
  { type: "pong", value: 0 },
  { type: "pong", value: 0xffffffff },
  { type: "shut", status: 0 },
  { type: "shut", status: 1 },
];
const wire = concat(...messages.map(encodeReturnPathMessage));

function readPieces(pieces: Iterable<Uint8Array>): ReturnPathMessage[] {
  const reader = new ReturnPathReader();
  return [...pieces].flatMap((piece) => reader.push(piece));
}

test("encodeReturnPathMessage() writes SHUT 1, PONG 2 and SWITCHOVER_ACK 7", () => {
  const shut = encodeReturnPathMessage({ type: "shut", status: 1 });
  const pong = encodeReturnPathMessage({ type: "pong", value: 0xfedcba98 });
  assertEquals(shut, concat(u16(1), u16(4), u32(1)));
  assertEquals(pong, concat(u16(2), u16(4), u32(0xfedcba98)));
  assertEquals(encodeReturnPathMessage({ type: "switchover-ack" }), concat(u16(7), u16(0)));
});

test("ReturnPathReader reads several messages of one piece", () => {
  assertEquals(readPieces([wire]), messages);
});

test("ReturnPathReader reads the same messages byte by byte", () => {
  assertEquals(readPieces(split(wire, () => 1)), messages);
});

test("ReturnPathReader reads the same messages from any split", () => {
  const random = new Random(3);
  for (let i = 0; i < 200; i++) {
    assertEquals(readPieces(split(wire, () => random.below(9))), messages);
  }
});

test("ReturnPathReader waits for the rest of a message", () => {
  const reader = new ReturnPathReader();
  const shut = encodeReturnPathMessage({ type: "shut", status: 0 });
  assertEquals(reader.push(shut.subarray(0, 7)), []);
  assertEquals(reader.push(new Uint8Array(0)), []);
  assertEquals(reader.push(shut.subarray(7)), [{ type: "shut", status: 0 }]);
});

test("ReturnPathReader keeps no reference to the bytes it was given", () => {
  const reader = new ReturnPathReader();
  const first = new Uint8Array([0, 2, 0, 4, 0, 0]);
  reader.push(first);
  first.fill(0xff);
  assertEquals(reader.push(new Uint8Array([0, 5])), [{ type: "pong", value: 5 }]);
});

const refused: [type: number, received: string][] = [
  [0, "type 0"],
  [3, "REQ_PAGES_ID"],
  [4, "REQ_PAGES"],
  [5, "RECV_BITMAP"],
  [6, "RESUME_ACK"],
  [8, "type 8"],
  [0xffff, "type 65535"],
];

for (const [type, received] of refused) {
  test(`ReturnPathReader rejects message ${received}`, () => {
    const bytes = concat(u16(type), u16(0));
    const facts = { channel: "main", received } as const;
    const read = () => readPieces([bytes]);
    assertRefused(read, ProtocolError, "not part of this migration", facts);
  });
}

for (const [type, length] of [[1, 0], [1, 3], [1, 5], [2, 8], [2, 0xffff], [7, 4]] as const) {
  test(`ReturnPathReader rejects type ${type} of ${length} bytes before they arrive`, () => {
    const bytes = concat(u16(type), u16(length));
    const facts = { expected: type === 7 ? 0 : 4, received: length };
    assertRefused(() => readPieces([bytes]), ProtocolError, "wrong length", facts);
  });
}

test("ReturnPathReader rejects a bad message after a good one", () => {
  const reader = new ReturnPathReader();
  assertEquals(reader.push(wire).length, messages.length);
  assertRefused(() => reader.push(u32(0)), ProtocolError, "not part of this migration");
});
