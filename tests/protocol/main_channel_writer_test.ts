import { test } from "node:test";
import { assertEquals } from "@std/assert";
import type { SyncMode } from "../../src/protocol/main_channel.ts";
import { emptyVmTail, MainChannelWriter } from "../../src/protocol/main_channel_writer.ts";
import {
  assertSame,
  BLOCKS,
  command,
  concat,
  configuration,
  description,
  end,
  EOS,
  FLUSH,
  footer,
  memSize,
  name,
  only,
  PAGE,
  part,
  read,
  record,
  start,
  subsection,
  u32,
} from "./_build.ts";

/** A stream with a PART of zero pages, as a sender writes it. */
function write(mode: SyncMode, pageSize = PAGE, scale = 1): Uint8Array {
  const writer = new MainChannelWriter(mode);
  const blocks = BLOCKS.map((block) => ({ ...block, usedLength: block.usedLength * scale }));
  return concat(
    writer.head("pc-q35-10.0", pageSize),
    writer.openReturnPath(),
    writer.ping(0xfedcba98),
    writer.ramStart(blocks),
    writer.ramPart(),
    writer.zeroPages("pc.ram", [0, 3 * pageSize]),
    writer.ramPartEnd(),
    writer.ramPart(),
    writer.zeroPages("pc.ram", [5 * pageSize]),
    writer.zeroPages("vga.vram", [pageSize]),
    writer.ramPartEnd(),
    writer.ramEnd(),
    emptyVmTail(),
  );
}

test("MainChannelWriter.head() writes magic, version and the machine type", () => {
  const head = new MainChannelWriter("round").head("pc-q35-10.0", 4096);
  assertEquals(head, configuration("pc-q35-10.0"));
});

test("MainChannelWriter.head() tells the page size where it is not 4096", () => {
  const head = new MainChannelWriter("round").head("virt", 65536);
  const bits = subsection("configuration/target-page-bits", u32(16));
  assertEquals(head, configuration("virt", bits));
});

test("MainChannelWriter writes OPEN_RETURN_PATH and PING as commands", () => {
  const writer = new MainChannelWriter("round");
  assertEquals(writer.openReturnPath(), command(1));
  assertEquals(writer.ping(0xfedcba98), command(2, u32(0xfedcba98)));
});

for (const [mode, marker] of [["round", [FLUSH, EOS]], ["section", [EOS]]] as const) {
  test(`MainChannelWriter closes every RAM section with the marker per ${mode}`, () => {
    const writer = new MainChannelWriter(mode);
    assertEquals(writer.ramStart(BLOCKS), start(memSize(BLOCKS), ...marker));
    assertEquals(concat(writer.ramPart(), writer.ramPartEnd()), part(...marker));
    assertEquals(writer.ramEnd(), end(...marker));
  });

  test(`MainChannelReader reads what MainChannelWriter writes per ${mode}`, () => {
    const events = read(write(mode));
    assertEquals(only(events, "ping"), [{ type: "ping", value: 0xfedcba98 }]);
    assertEquals(only(events, "blocks")[0]!.blocks, BLOCKS);
    assertEquals(
      only(events, "sync").map((event) => `${event.mode} ${event.section}`),
      ["start", "part", "part", "end"].map((section) => `${mode} ${section}`),
    );
    assertEquals(only(events, "zero").map(({ block, offset }) => [block, offset]), [
      ["pc.ram", 0],
      ["pc.ram", 3 * PAGE],
      ["pc.ram", 5 * PAGE],
      ["vga.vram", PAGE],
    ]);
    assertEquals(only(events, "end")[0]!.tail.bytes, emptyVmTail());
  });
}

for (const pageSize of [4096, 8192, 16384, 32768, 65536]) {
  test(`MainChannelReader reads back pages of ${pageSize} bytes`, () => {
    const events = read(write("round", pageSize, pageSize / PAGE));
    const told = pageSize === 4096 ? undefined : pageSize;
    assertEquals(only(events, "configuration")[0]!.pageSize, told);
    assertEquals(only(events, "zero").map(({ offset }) => offset / pageSize), [0, 3, 5, 1]);
  });
}

test("MainChannelWriter.zeroPages() names a block once and continues it after that", () => {
  const writer = new MainChannelWriter("section");
  assertEquals(
    concat(writer.zeroPages("pc.ram", [PAGE, 0]), writer.zeroPages("vga.vram", [0])),
    concat(
      ...[record(0x002, PAGE), name("pc.ram"), [0]],
      ...[record(0x022, 0), [0]],
      ...[record(0x002, 0), name("vga.vram"), [0]],
    ),
  );
  assertEquals(writer.zeroPages("vga.vram", [PAGE]), concat(record(0x022, PAGE), [0]));
  assertEquals(writer.zeroPages("pc.ram", []), new Uint8Array(0));
  assertEquals(writer.zeroPages("vga.vram", [0]), concat(record(0x022, 0), [0]));
});

test("MainChannelWriter writes offsets and lengths beyond 4 GiB exactly", () => {
  const writer = new MainChannelWriter("round");
  const blocks = [{ name: "pc.ram", usedLength: 2 ** 50 }, { name: "a", usedLength: PAGE }];
  assertEquals(writer.ramStart(blocks), start(memSize(blocks), FLUSH, EOS));
  const last = 2 ** 50 - PAGE;
  assertEquals(writer.zeroPages("pc.ram", [last]), concat(record(2, last), name("pc.ram"), [0]));
});

test("MainChannelWriter writes more blocks than its first buffer holds", () => {
  const blocks = Array.from({ length: 300 }, (_, i) => ({
    name: `/rom@${i}`.padEnd(255, "x"),
    usedLength: (i + 1) * PAGE,
  }));
  const writer = new MainChannelWriter("round");
  assertSame(writer.ramStart(blocks), start(memSize(blocks), FLUSH, EOS));
});

test("MainChannelWriter ends each RAM section with the footer of its id", () => {
  const writer = new MainChannelWriter("round");
  for (const section of [writer.ramStart(BLOCKS), writer.ramPartEnd(), writer.ramEnd()]) {
    assertEquals(section.slice(-5), footer());
  }
});

test("emptyVmTail() is EOF and a description of nothing", () => {
  assertEquals(emptyVmTail(), description("{}"));
});
