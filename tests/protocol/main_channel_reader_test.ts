import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { PeerClosedError, ProtocolError, UnsupportedError } from "../../src/errors.ts";
import {
  DEFAULT_MAX_RAM,
  MainChannelReader,
  MAX_BLOCKS,
} from "../../src/protocol/main_channel_reader.ts";
import { Random } from "../_random.ts";
import {
  assertRefused,
  assertSame,
  BLOCKS,
  command,
  concat,
  configuration,
  end,
  EOS,
  FLUSH,
  memSize,
  name,
  only,
  PAGE,
  part,
  PER_SECTION,
  read,
  readPieces,
  record,
  recording,
  ROUND,
  split,
  start,
  startHead,
  stream,
  subsection,
  tail,
  text,
  u32,
  u64,
} from "./_build.ts";

const zero = concat(record(0x002, 3 * PAGE), name("pc.ram"), [0]);

test("MainChannelReader tells the events of a stream in order", () => {
  const commands = concat(ROUND.commands, command(11));
  assertEquals(read(stream({ commands })), [
    {
      type: "configuration",
      machine: "pc-q35-10.0",
      pageSize: undefined,
      uuid: undefined,
      capabilities: [],
    },
    { type: "return-path" },
    { type: "ping", value: 7 },
    { type: "switchover-start" },
    { type: "blocks", blocks: BLOCKS },
    { type: "sync", mode: "round", section: "start" },
    { type: "sync", mode: "round", section: "part" },
    { type: "sync", mode: "round", section: "end" },
    { type: "ram-end" },
    {
      type: "end",
      tail: { bytes: new Uint8Array(ROUND.tail), descriptionBytes: 2, devices: [] },
    },
  ]);
});

test("MainChannelReader takes EOS alone in the START body for syncs per section", () => {
  const events = only(read(stream({}, PER_SECTION)), "sync");
  assertEquals(events.map(({ mode, section }) => `${mode} ${section}`), [
    "section start",
    "section part",
    "section end",
  ]);
});

test("MainChannelReader takes any number of MULTIFD_FLUSH in a body, none included", () => {
  const pieces = { part: concat(part(EOS), part(FLUSH, FLUSH, zero, FLUSH, EOS)) };
  const events = read(stream({ ...pieces, end: end(FLUSH, FLUSH, EOS) }));
  const sections = only(events, "sync").map(({ section }) => section).join(" ");
  assertEquals(sections, "start part part part end end");
});

test("MainChannelReader carries CONTINUE over records, sections and commands", () => {
  const data = new Random(5).bytes(PAGE);
  const pieces = {
    part: concat(
      part(zero, record(0x022, 0), [0], record(0x002, PAGE), name("vga.vram"), [0], EOS),
      command(2, u32(1)),
      part(record(0x028, 0), data, record(0x022, PAGE), [0], EOS),
    ),
  };
  const events = read(stream({ ...pieces, end: end(record(0x022, 0), [0], FLUSH, EOS) }));
  assertEquals(only(events, "zero").map(({ block, offset }) => [block, offset]), [
    ["pc.ram", 3 * PAGE],
    ["pc.ram", 0],
    ["vga.vram", PAGE],
    ["vga.vram", PAGE],
    ["vga.vram", 0],
  ]);
  assertEquals(only(events, "page"), [{ type: "page", block: "vga.vram", offset: 0, data }]);
});

for (const bits of [12, 13, 14, 15, 16]) {
  test(`MainChannelReader takes a page size of 2^${bits} from the stream`, () => {
    const size = 2 ** bits;
    const blocks = [{ name: "mach-virt.ram", usedLength: 2 * size }];
    const data = new Random(bits).bytes(size);
    const events = read(
      stream({
        head: configuration("virt", subsection("configuration/target-page-bits", u32(bits))),
        start: start(memSize(blocks), FLUSH, EOS),
        part: part(record(0x008, size), name("mach-virt.ram"), data, EOS),
      }),
      { pageSize: 65536 },
    );
    assertEquals(only(events, "configuration")[0]!.pageSize, size);
    assertEquals(only(events, "page"), [
      { type: "page", block: "mach-virt.ram", offset: size, data },
    ]);
  });
}

test("MainChannelReader takes the page size it is told where the stream is silent", () => {
  const blocks = [{ name: "ram", usedLength: 65536 }];
  const bytes = stream({ start: start(memSize(blocks), FLUSH, EOS) });
  assertEquals(only(read(bytes, { pageSize: 65536 }), "blocks")[0]!.blocks, blocks);
  const halves = ["a", "b"].map((name) => ({ name, usedLength: 32768 }));
  const small = stream({ start: start(memSize(halves), FLUSH, EOS) });
  assertRefused(() => read(small, { pageSize: 65536 }), ProtocolError, "not whole pages");
});

test("MainChannelReader takes every subsection of the configuration that it knows", () => {
  const uuid = new Random(6).bytes(16);
  const pieces = [
    configuration("m".repeat(255)),
    subsection("configuration/target-page-bits", u32(12)),
    subsection("configuration/capabilities", u32(0)),
    subsection("configuration/uuid", uuid),
  ];
  const head = concat(...pieces);
  const events = read(stream({ head }));
  assertEquals(only(events, "configuration"), [
    { type: "configuration", machine: "m".repeat(255), pageSize: PAGE, uuid, capabilities: [] },
  ]);
  assertEquals(readPieces(split(stream({ head }), () => 1)), events);
  assertEquals(readPieces([...pieces, stream({ head: [] })]), events);
});

test("MainChannelReader takes blocks without length before the last one", () => {
  const blocks = [{ name: "none", usedLength: 0 }, ...BLOCKS];
  const bytes = stream({ start: start(memSize(blocks), FLUSH, EOS) });
  assertEquals(only(read(bytes), "blocks")[0]!.blocks, blocks);
});

test("MainChannelReader takes as many blocks as MAX_BLOCKS and no more", () => {
  const blocks = Array.from({ length: MAX_BLOCKS + 1 }, (_, i) => ({
    name: `block ${i}`,
    usedLength: PAGE,
  }));
  const sized = (count: number) =>
    stream({ start: start(memSize(blocks.slice(0, count)), FLUSH, EOS) });
  assertEquals(only(read(sized(MAX_BLOCKS)), "blocks")[0]!.blocks.length, MAX_BLOCKS);
  assertRefused(() => read(sized(MAX_BLOCKS + 1)), ProtocolError, "Too many RAM blocks");
  const empty = memSize(blocks.map(({ name }) => ({ name, usedLength: 0 })), PAGE);
  assertRefused(() => read(stream({ start: start(empty) })), ProtocolError, "Too many RAM blocks");
});

test("MainChannelReader takes as much RAM as maxRam and no more", () => {
  const total = 18 * PAGE;
  assertEquals(only(read(stream(), { maxRam: total }), "blocks").length, 1);
  const less = () => read(stream(), { maxRam: total - 1 });
  assertRefused(less, ProtocolError, "--max-ram", { received: total });
  const sized = (usedLength: number) =>
    stream({ start: start(memSize([{ name: "pc.ram", usedLength }]), FLUSH, EOS) });
  assertEquals(only(read(sized(DEFAULT_MAX_RAM)), "blocks").length, 1);
  assertRefused(() => read(sized(DEFAULT_MAX_RAM + PAGE)), ProtocolError, "--max-ram");
});

test("MainChannelReader refuses a huge length before any of its bytes arrive", () => {
  const open = concat(configuration("pc"), startHead());
  for (
    const [bytes, words] of [
      [concat(text("QEVM"), u32(3), [7], u32(0xffffffff)), "Machine type is too long"],
      [concat(open, record(4, 2n ** 63n)), "RAM is too large"],
      [concat(open, record(4, PAGE), name("a"), u64(2n ** 64n - 4096n)), "longer than the total"],
    ] as const
  ) assertRefused(() => [...new MainChannelReader().push(bytes)], ProtocolError, words);
});

test("MainChannelReader tells what came before an error first", () => {
  const told: string[] = [];
  const bytes = stream({ part: part(zero, record(0x40)) });
  assertRefused(
    () => {
      for (const { type } of new MainChannelReader().push(bytes)) {
        told.push(
          type,
        );
      }
    },
    UnsupportedError,
    "xbzrle",
  );
  assertEquals(told.slice(-3), ["blocks", "sync", "zero"]);
});

test("MainChannelReader.end() says where and before what the peer closed", () => {
  const bytes = stream({ tail: tail({ name: "cpu", body: [1, 2, 3] }) });
  for (let length = 0; length < bytes.length; length++) {
    const facts = { channel: "main", offset: length } as const;
    const cut = [bytes.subarray(0, length)];
    assertRefused(() => readPieces(cut), PeerClosedError, "closed the main channel before", facts);
  }
  const before = (cut: Uint8Array, words: string) =>
    assertRefused(() => read(cut), PeerClosedError, `before ${words}`);
  before(new Uint8Array(0), "the stream's magic");
  before(configuration("pc"), "a section of the RAM");
  before(concat(configuration("pc"), startHead(), record(4, PAGE)), "a RAM block's name");
  before(bytes.subarray(0, -1), "the VM description");
});

test("MainChannelReader refuses bytes after the VM description", () => {
  const reader = new MainChannelReader();
  assertEquals([...reader.push(stream())].at(-1)!.type, "end");
  reader.end();
  assertEquals([...reader.push(new Uint8Array(0))], []);
  const more = () => [...reader.push(new Uint8Array(1))];
  assertRefused(more, ProtocolError, "goes on after the VM description");
  const atOnce = concat(stream(), [0]);
  assertRefused(() => read(atOnce), ProtocolError, "goes on after the VM description");
});

for (
  const [vector, mode, zeros] of [["zstd", "round", 0], ["qemu-7.2-zlib", "section", 1969]] as const
) {
  const bytes = recording(`${vector}/main.bin`);

  test(`MainChannelReader reads QEMU's own stream (${vector})`, () => {
    const json = JSON.parse(new TextDecoder().decode(recording(`${vector}/expected.json`)));
    const events = read(bytes);
    assertEquals(only(events, "configuration")[0]!.machine, json.machine);
    assertEquals(
      only(events, "blocks")[0]!.blocks.map(({ name, usedLength }) => [name, usedLength]),
      Object.keys(json.blocks).map((name) => [name, json.blocks[name].used_length]),
    );
    assertEquals(only(events, "sync").map((event) => event.mode), [mode, mode, mode]);
    assertEquals(only(events, "zero").length, zeros);
    const { tail } = only(events, "end")[0]!;
    assertSame(tail.bytes, bytes.subarray(-json.device_state_bytes));
    assertEquals(tail.descriptionBytes, json.vmdesc_bytes);
    assertEquals(tail.devices.length, 29);
  });

  test(`MainChannelReader gives the same events for any split (${vector})`, () => {
    const events = read(bytes);
    assertSame(readPieces(split(bytes, () => 1)), events);
    const random = new Random(7);
    for (const most of [2, 9, 100, 5000, 65536]) {
      assertSame(readPieces(split(bytes, () => random.below(most) + 1)), events);
    }
  });
}
