import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { ProtocolError, VerificationError } from "../../src/errors.ts";
import {
  parseVmTail,
  VM_TAIL_MAX_SIZE,
  type VmTail,
  VmTailReader,
} from "../../src/protocol/vm_tail.ts";
import { Random } from "../_random.ts";
import {
  assertRefused,
  assertSame,
  concat,
  description,
  device,
  footer,
  patch,
  recording,
  split,
  tail,
  text,
  u32,
} from "./_build.ts";

/** Reads a tail from pieces; it must end with the last one. */
function readPieces(pieces: Iterable<Uint8Array>): VmTail | undefined {
  const reader = new VmTailReader(footer());
  let found: VmTail | undefined;
  for (const piece of pieces) {
    assertEquals(found, undefined);
    found = reader.push(piece);
  }
  return found;
}

const random = new Random(8);
const cpu = { name: "cpu_common", body: random.bytes(40) };
const timer = { name: "timer", instance: 3, body: random.bytes(24) };

test("VmTailReader finds the devices and keeps every byte", () => {
  const bytes = tail(cpu, timer);
  const found = readPieces([bytes])!;
  assertEquals(found.bytes, bytes);
  assertEquals(found.devices, [
    { name: "cpu_common", instanceId: 0, bytes: 5 + 1 + 10 + 8 + 40 + 5 },
    { name: "timer", instanceId: 3, bytes: 5 + 1 + 5 + 8 + 24 + 5 },
  ]);
  assertEquals(bytes[bytes.length - found.descriptionBytes], 0x7b);
});

test("VmTailReader takes the footer of RAM's END as the one before a tail without devices", () => {
  const bytes = description("{}");
  assertEquals(readPieces([bytes]), { bytes, descriptionBytes: 2, devices: [] });
  // without a footer before it, the same bytes are data of a device
  assertEquals(new VmTailReader(new Uint8Array(5)).push(bytes), undefined);
});

test("VmTailReader counts arrays and subsections into a device's body", () => {
  const subsection = (title: string, body: Uint8Array) =>
    concat([5], [title.length], text(title), u32(1), body);
  const inner = subsection("cpu/tsc/inner", random.bytes(3));
  const body = concat(random.bytes(2 + 4 * 8), subsection("cpu/tsc", concat([1, 2], inner)));
  const says = {
    fields: [{ size: 2 }, { size: 8, array_len: 4 }, { size: 8, array_len: 0 }],
    subsections: [{
      vmsd_name: "cpu/tsc",
      fields: [{ size: 2 }],
      subsections: [{ vmsd_name: "cpu/tsc/inner", fields: [{ size: 3 }] }],
    }],
  };
  const found = readPieces([tail({ name: "cpu", body, says }, timer)])!;
  assertEquals(found.devices.map((device) => device.name), ["cpu", "timer"]);
});

test("VmTailReader takes a device without fields", () => {
  assertEquals(readPieces([tail({ name: "empty", says: {} })])!.devices[0]!.bytes, 24);
});

for (const vector of ["zstd", "qemu-7.2-zlib"]) {
  const json = JSON.parse(new TextDecoder().decode(recording(`${vector}/expected.json`)));
  const bytes = recording(`${vector}/main.bin`).slice(-json.device_state_bytes);

  test(`VmTailReader accounts for every byte of QEMU's own tail (${vector})`, () => {
    const { devices, descriptionBytes } = readPieces([bytes])!;
    const sections = devices.reduce((sum, device) => sum + device.bytes, 0);
    assertEquals(descriptionBytes, json.vmdesc_bytes);
    assertEquals(sections + 6 + descriptionBytes, bytes.length);
    assert(devices.some((device) => device.name === "cpu"));
    assertEquals(parseVmTail(bytes, "tail").devices, devices);
  });

  test(`VmTailReader finds the same end for any split (${vector})`, () => {
    const whole = readPieces([bytes]);
    assertSame(readPieces(split(bytes, () => 1)), whole);
    for (const most of [10, 1000, 50000]) {
      assertSame(readPieces(split(bytes, () => 1 + random.below(most))), whole);
    }
  });

  test(`VmTailReader does not find the end before the last byte (${vector})`, () => {
    assertEquals(readPieces([bytes.subarray(0, -1)]), undefined);
  });
}

const believable = concat([0x7e], u32(11));
const notUtf8 = concat(text('{"'), [0xff], text('":1}'));
const falseHits: [what: string, data: Uint8Array][] = [
  ["00 06", new Uint8Array([0, 6])],
  ["a description without a footer before it", concat([1, 2, 3, 4, 5], description("{}"))],
  ["a footer and 00 06, then no JSON", concat(believable, [0, 6], u32(2), text("[]"))],
  ["a footer and a JSON object cut short", concat(believable, [0, 6], u32(9), text('{"a": 1,}'))],
  ["a footer and an object with more after it", concat(believable, [0, 6], u32(3), text("{}x"))],
  ["a footer and an object of no bytes", concat(believable, [0, 6], u32(0), text("{}"))],
  ["a footer and text that is not UTF-8", concat(believable, [0, 6], u32(7), notUtf8)],
  ["a footer and an object after a blank", concat(believable, [0, 6], u32(3), text(" {}"))],
  ["a footer and a length past the real end", concat(believable, [0, 6], u32(5000), text("{}"))],
  ["a footer and a length past the bound", concat(believable, [0, 6], u32(0xffffffff), text("{}"))],
  [
    "several of them",
    concat(...[1, 2, 3].map((n) => concat(believable, [0, 6], u32(n), text("{")))),
  ],
];

for (const [what, data] of falseHits) {
  test(`VmTailReader is not misled by ${what} in a device's data`, () => {
    const bytes = tail(cpu, { name: "buffer", body: concat([9], data, [9, 9]) }, timer);
    const whole = readPieces([bytes])!;
    assertEquals(whole.bytes, bytes);
    assertEquals(whole.devices.map((device) => device.name), ["cpu_common", "buffer", "timer"]);
    assertEquals(readPieces(split(bytes, () => 1)), whole);
    for (let i = 0; i < 20; i++) {
      assertEquals(readPieces(split(bytes, () => 1 + random.below(40))), whole);
    }
  });
}

test("VmTailReader refuses bytes after the description", () => {
  const bytes = concat(tail(cpu), [0, 0]);
  const facts = { channel: "main", received: "2 bytes" } as const;
  const words = "Stream goes on after the VM description";
  assertRefused(() => readPieces([bytes]), ProtocolError, words, facts);
});

test("VmTailReader refuses a tail past its bound", () => {
  const reader = new VmTailReader(footer());
  const most = new Uint8Array(VM_TAIL_MAX_SIZE + 1);
  assertRefused(() => reader.push(most), ProtocolError, "Device state is too large", {
    expected: `at most ${VM_TAIL_MAX_SIZE} bytes`,
  });
  assertEquals(reader.length, 0);
});

const section = device(10, cpu);
const described = JSON.stringify({
  devices: [{ name: "cpu_common", instance_id: 0, fields: [{ size: 40 }] }],
});
const lies: [what: string, bytes: Uint8Array, words: string][] = [
  ["a body longer than described", tail({ ...cpu, says: { fields: [{ size: 39 }] } }), "39 bytes"],
  ["a body shorter than described", tail({ ...cpu, says: { fields: [{ size: 41 }] } }), "41 bytes"],
  ["a body described past the end", tail({ ...cpu, says: { fields: [{ size: 1e300 }] } }), "bytes"],
  [
    "a body of a fraction of bytes",
    tail({ ...cpu, says: { fields: [{ size: 39.5 }] } }),
    "does not match",
  ],
  ["a body of no number of bytes", tail({ ...cpu, says: { fields: [{}] } }), "does not match"],
  ["another name", patch(tail(cpu), 6, text("CPU")), '"CPU_common" 0 where "cpu_common"'],
  ["a name that is not text", patch(tail(cpu), 6, [0xff]), "should be"],
  ["another instance", patch(tail(cpu), 16, u32(1)), '"cpu_common" 1 where "cpu_common"'],
  ["another section type", patch(tail(cpu), 0, [1]), 'no section where "cpu_common"'],
  ["a name that runs past the sections", patch(tail(cpu), 5, [255]), "no section where"],
  ["a footer of another section", patch(tail(cpu), 65, u32(11)), "is not 40 bytes long"],
  ["a section that is missing", description(described), 'no section where "cpu_common"'],
  [
    "a section that is not described",
    concat(section, device(11, timer), description(described)),
    "goes on after the last device described",
  ],
];

for (const [what, bytes, words] of lies) {
  test(`VmTailReader refuses ${what}`, () => {
    assertRefused(() => readPieces([bytes]), VerificationError, words, { channel: "main" });
  });
}

const malformed: [what: string, device: unknown][] = [
  ["null for a device", null],
  ["fields that are no list", { fields: 5 }],
  ["null for a field", { fields: [null] }],
  ["a subsection without a name", { subsections: [{}] }],
  ["null for a subsection", { subsections: [null] }],
];

for (const [what, says] of malformed) {
  test(`VmTailReader refuses a description with ${what}`, () => {
    const one = says === null ? null : { name: "cpu_common", instance_id: 0, ...says as object };
    const bytes = concat(section, description(JSON.stringify({ devices: [one] })));
    assertRefused(() => readPieces([bytes]), VerificationError, "does not match its description");
  });
}

test("VmTailReader refuses a description with sizes that go backwards", () => {
  // three devices described, two there: the second leads back to the end of the first
  const length = section.length;
  const fields = [{ size: 40 }];
  const one = { name: "cpu_common", instance_id: 0 };
  const back = { ...one, fields: [{ size: 40 }, { size: length, array_len: -1 }] };
  const bytes = concat(
    section,
    section,
    description(JSON.stringify({ devices: [{ ...one, fields }, back, { ...one, fields }] })),
  );
  assertRefused(() => readPieces([bytes]), VerificationError, "does not match");
});

test("VmTailReader refuses a description nested too deeply to follow", () => {
  const depth = 50_000;
  const open = '{"vmsd_name":"a","subsections":['.repeat(depth);
  const json = `{"devices":[{"name":"cpu_common","instance_id":0,"subsections":[${open}${
    "]}".repeat(depth)
  }]}]}`;
  assertRefused(
    () => readPieces([concat(section, description(json))]),
    VerificationError,
    "does not match its description",
  );
});

test("parseVmTail() reads a stored tail", () => {
  const bytes = tail(cpu, timer);
  assertEquals(parseVmTail(bytes, "devices.bin"), readPieces([bytes]));
  assertEquals(parseVmTail(description("{}"), "devices.bin").devices, []);
});

test("parseVmTail() refuses a tail that is cut short", () => {
  const bytes = tail(cpu);
  const words = "devices.bin has no VM description at its end";
  for (let length = 0; length < bytes.length; length++) {
    const cut = bytes.subarray(0, length);
    assertRefused(() => parseVmTail(cut, "devices.bin"), VerificationError, words);
  }
});

test("parseVmTail() refuses a tail that something follows", () => {
  const bytes = concat(tail(cpu), [0]);
  assertRefused(() => parseVmTail(bytes, "devices.bin"), VerificationError, "devices.bin");
});

test("VmTailReader refuses a tail full of places that look like its end", () => {
  const decoy = concat([0x7e, 1, 1, 1, 1, 0, 6], u32(512 * 1024), [0x7b]);
  const bytes = new Uint8Array(1024 * 1024);
  for (let at = 0; at + decoy.length <= bytes.length; at += decoy.length) bytes.set(decoy, at);
  assertRefused(() => readPieces([bytes]), ProtocolError, "look like its end");
  assertRefused(() => readPieces(split(bytes, () => 4096)), ProtocolError, "look like its end");
});

test("VmTailReader does not believe an end inside a device's state, however it is split", () => {
  const decoy = concat([0x7e, 1, 1, 1, 1, 0, 6], u32(2), text("{}"));
  const bytes = tail({ name: "framebuffer", body: decoy }, timer);
  for (let at = 1; at < bytes.length; at++) {
    const found = readPieces([bytes.subarray(0, at), bytes.subarray(at)])!;
    assertEquals(found.devices.length, 2);
  }
});
