import { test } from "node:test";
import { assertThrows } from "@std/assert";
import {
  type ErrorFacts,
  MultifdError,
  ProtocolError,
  UnsupportedError,
} from "../../src/errors.ts";
import {
  assertRefused,
  BLOCKS,
  type Bytes,
  command,
  concat,
  configuration,
  device,
  end,
  EOS,
  FLUSH,
  footer,
  memSize,
  name,
  PAGE,
  part,
  PER_SECTION,
  read,
  readPieces,
  record,
  ROUND,
  split,
  start,
  startHead,
  stream,
  subsection,
  text,
  u32,
  u64,
} from "./_build.ts";

/** One stream that is valid but for one thing: refused, at once and byte by byte. */
function refuses(
  what: string,
  bytes: Uint8Array,
  Class: typeof ProtocolError,
  words: string,
  facts: ErrorFacts = {},
): void {
  test(`MainChannelReader refuses ${what}`, () => {
    assertRefused(() => read(bytes), Class, words, { channel: "main", ...facts });
    const whole = assertThrows(() => read(bytes), MultifdError);
    assertRefused(() => readPieces(split(bytes, () => 1)), Class, whole.message, whole.facts);
  });
}

const P = ProtocolError;
const U = UnsupportedError;
const RAM = BLOCKS[0]!;
const sizes = memSize(BLOCKS);
const zero = concat(record(0x002, 3 * PAGE), name("pc.ram"), [0]);

const inHead = (...parts: Bytes[]) => stream({ head: configuration("pc", ...parts) });
const inCommands = (...parts: Bytes[]) => stream({ commands: concat(...parts) });
const inStart = (...records: Bytes[]) => stream({ start: start(...records) });
const inPart = (...records: Bytes[]) => stream({ part: part(...records, FLUSH, EOS) });

// the head

refuses("another magic", concat(text("QEVN"), stream().slice(4)), P, "wrong magic", {
  expected: "0x5145564d",
  received: "0x5145564e",
});
refuses("version 2", concat(text("QEVM"), u32(2), stream().slice(8)), P, "wrong version", {
  expected: 3,
  received: 2,
});
refuses("no configuration", stream({ head: concat(text("QEVM"), u32(3)) }), P, "no configuration");

refuses("a long machine type", stream({ head: configuration("m".repeat(256)) }), P, "too long");
refuses("an empty machine type", stream({ head: configuration("") }), P, "Machine type is empty");
refuses("a machine type with a NUL", stream({ head: configuration("p\0c") }), P, "or not text");

const PAGE_BITS = "configuration/target-page-bits";
for (const bits of [0, 11, 17, 32, 0xffffffff]) {
  refuses(`${bits} page bits`, inHead(subsection(PAGE_BITS, u32(bits))), P, "out of range", {
    received: bits,
  });
}
refuses("version 2 of a subsection", inHead([5], name(PAGE_BITS), u32(2)), P, "is unknown", {
  expected: 1,
  received: 2,
});
refuses("a new subsection by name", inHead(subsection("configuration/x")), U, '"configuration/x"');

const CAPABILITIES = "configuration/capabilities";
for (const capability of ["x-ignore-shared", "mapped-ram"]) {
  const bytes = inHead(subsection(CAPABILITIES, u32(1), name(capability)));
  refuses(`capability ${capability} by name`, bytes, U, `capability ${capability} is on`);
}
refuses("65 capabilities", inHead(subsection(CAPABILITIES, u32(65))), P, "Too many capabilities", {
  received: 65,
});

// commands

for (const number of [3, 4, 5, 6, 7, 9, 10]) {
  const words = `postcopy (command ${number})`;
  refuses(`command ${number} as postcopy`, inCommands(command(number)), U, words);
}
refuses("command 8 as COLO", inCommands(command(8)), U, "COLO");
for (const number of [0, 12, 0xffff]) {
  const facts = { received: number };
  refuses(`command ${number}`, inCommands(command(number)), P, "Command is unknown", facts);
}
for (const [number, length] of [[1, 1], [2, 0], [2, 8], [11, 4]] as const) {
  const bytes = inCommands(command(number, new Uint8Array(length)));
  const facts = { expected: number === 2 ? 4 : 0, received: length };
  refuses(`command ${number} of ${length} bytes`, bytes, P, "wrong length", facts);
}

// sections

for (const title of ["dirty-bitmap", "spapr/htab", "s390-stattrib", "0000:00:03.0/vfio"]) {
  const words = `section "${title}" is iterable`;
  refuses(`the iterable section ${title}`, stream({ part: startHead(title) }), U, words);
  refuses(`${title} before the RAM`, stream({ start: startHead(title) }), U, words);
}
for (const place of ["commands", "part"]) {
  const bytes = stream({ [place]: device(9, { name: "0000:00:02.0/virtio-mem" }) });
  const words = '"0000:00:02.0/virtio-mem" comes before the end of RAM';
  refuses(`device state among the ${place} by name`, bytes, U, words);
}
for (const type of [5, 6, 7, 9, 0x7e, 0xff]) {
  const facts = { received: `0x${type.toString(16)}` };
  refuses(`section type ${type}`, stream({ part: [type] }), P, "unknown section type", facts);
}
refuses("EOF before the end of RAM", stream({ part: [0] }), P, "Stream ends before the RAM does");

refuses("PART before START", stream({ start: [] }), P, "not the RAM's", {
  expected: "a START first",
  received: 2,
});
refuses("END before START", stream({ start: [], part: [] }), P, "not the RAM's");
refuses("a second START", stream({ part: ROUND.start }), P, "starts twice");
refuses("RAM of instance 1", stream({ start: startHead("ram", 1) }), P, "wrong instance");
for (const version of [3, 5]) {
  const bytes = stream({ start: startHead("ram", 0, version) });
  refuses(`RAM of version ${version}`, bytes, P, "wrong version", { received: version });
}
refuses("a section without a name", stream({ start: startHead("") }), P, "name is empty");
for (const [kind, type] of [["part", 2], ["end", 3]] as const) {
  const bytes = stream({ [kind]: concat([type], u32(3), FLUSH, EOS, footer(3)) });
  const facts = { expected: 2, received: 3 };
  refuses(`a ${kind} of another section`, bytes, P, "Section is not the RAM's", facts);
}
for (const kind of ["start", "part", "end"] as const) {
  const bare = Array.from(ROUND[kind]).slice(0, -5);
  refuses(`${kind} without a footer`, stream({ [kind]: bare }), P, "Section has no footer");
  const other = stream({ [kind]: concat(bare, footer(3)) });
  const facts = { expected: 2, received: 3 };
  refuses(`a footer of another section after ${kind}`, other, P, "of another section", facts);
}

// the blocks

refuses("START without MEM_SIZE", inStart(EOS), P, "starts without MEM_SIZE");
refuses("MULTIFD_FLUSH before MEM_SIZE", inStart(FLUSH, sizes, EOS), P, "before MEM_SIZE");
refuses("a zero page before MEM_SIZE", inStart(zero, sizes, EOS), P, "before MEM_SIZE");
refuses("MEM_SIZE twice", inStart(sizes, sizes, EOS), P, "sized twice");
refuses("MEM_SIZE in a PART", inPart(sizes), P, "outside the START section");
refuses("MEM_SIZE in END", stream({ end: end(sizes, FLUSH, EOS) }), P, "outside the START section");
refuses("MEM_SIZE of 0 bytes", inStart(record(4), FLUSH, EOS), P, "RAM has no blocks");
for (const total of [2n ** 63n, 2n ** 64n - 4096n]) {
  const bytes = inStart(memSize(BLOCKS, total), FLUSH, EOS);
  refuses(`MEM_SIZE of ${total} bytes`, bytes, P, "--max-ram", { received: Number(total) });
}
refuses("blocks short of the total", inStart(memSize(BLOCKS, 19 * PAGE), FLUSH, EOS), P, "empty");
refuses(
  "blocks over the total",
  inStart(memSize(BLOCKS, 17 * PAGE), FLUSH, EOS),
  P,
  "total leaves",
  {
    expected: `at most ${PAGE} bytes`,
    received: 2 * PAGE,
  },
);
refuses(
  "two blocks of one name",
  inStart(memSize([RAM, RAM]), EOS),
  P,
  '"pc.ram" is announced twice',
);
refuses(
  "a block of half a page",
  inStart(record(4, PAGE), name("a"), u64(2048)),
  P,
  "not whole pages",
);
test("MainChannelReader refuses a block of more pages than are counted", () => {
  const bytes = inStart(record(4, 2 ** 44 + PAGE), name("a"), u64(2n ** 44n + 4096n));
  const facts = { expected: `at most ${2 ** 32}`, received: 2 ** 32 + 1 };
  assertRefused(() => read(bytes, { maxRam: 2 ** 50 }), P, 'block "a" has too many pages', facts);
});
for (const length of [2n ** 63n, 2n ** 64n - 4096n, 2n ** 64n - 1n]) {
  const bytes = inStart(record(4, PAGE), name("a"), u64(length));
  refuses(`a block of ${length} bytes`, bytes, P, "longer than the total leaves");
}
refuses("a block without a name", inStart(record(4, PAGE), name(""), u64(PAGE)), P, "or not text");

// the pages

refuses("a zero page with a fill", inPart(zero.with(-1, 7)), P, "has a fill", { received: 7 });
refuses(
  "a page of an unknown block",
  inPart(zero, record(2), name("pc.rom"), [0]),
  P,
  "is unknown",
);
refuses("CONTINUE before a name", inPart(record(0x22), [0]), P, "none was named");
for (const flags of [0x020, 0x024, 0x030, 0x060, 0x220]) {
  const facts = { received: `0x${flags.toString(16)}` };
  const words = "CONTINUE where no page is";
  refuses(`a record of flags ${facts.received}`, inPart(zero, record(flags)), P, words, facts);
}
for (const flags of [2, 8]) {
  for (const offset of [16 * PAGE, 2 ** 32, 2n ** 63n, 2n ** 64n - 4096n]) {
    const bytes = inPart(record(flags, offset), name("pc.ram"), new Uint8Array(PAGE));
    const facts = { block: "pc.ram", received: `0x${Number(offset).toString(16)}` };
    const what = `offset ${facts.received} in a record of flags ${flags}`;
    refuses(what, bytes, P, "past the end of its block", facts);
  }
}
refuses(
  "a page of a block without length",
  stream({
    start: start(memSize([{ name: "none", usedLength: 0 }, RAM]), FLUSH, EOS),
    part: part(record(2), name("none"), [0], EOS),
  }),
  ...[P, "past the end of its block", { block: "none" }] as const,
);
refuses("xbzrle pages by name", inPart(record(0x40)), U, "xbzrle");
refuses("the RDMA hook by name", inPart(record(0x80)), U, "RDMA");
for (const flags of [0, 0x001, 0x00a, 0x012, 0x100, 0x210, 0x400, 0x800]) {
  const facts = { received: `0x${flags.toString(16)}` };
  refuses(`a record of flags ${facts.received}`, inPart(record(flags)), P, "unknown flags", facts);
}

// the markers

refuses("END without a marker, per round", stream({ end: end(EOS) }), P, "without a sync marker");
for (const [place, section] of [["part", part(FLUSH, EOS)], ["end", end(FLUSH, EOS)]] as const) {
  const bytes = stream({ [place]: section }, PER_SECTION);
  const words = "MULTIFD_FLUSH in a stream that marks syncs per section";
  refuses(`MULTIFD_FLUSH in ${place}, per section`, bytes, P, words);
}
