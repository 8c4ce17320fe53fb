import { test } from "node:test";
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  type ErrorFacts,
  MultifdError,
  OptionError,
  PeerClosedError,
  ProtocolError,
  UnsupportedError,
} from "../../src/errors.ts";
import { MainChannelReader } from "../../src/protocol/main_channel_reader.ts";
import {
  bitmapSize,
  encodeMappedBlock,
  encodeMappedEnd,
  encodeMappedHead,
  placePages,
} from "../../src/protocol/mapped_ram.ts";
import { Random } from "../_random.ts";
import {
  assertRefused,
  assertSame,
  concat,
  configuration,
  end,
  EOS,
  FLUSH,
  footer,
  name,
  only,
  PAGE,
  record,
  startHead,
  subsection,
  tail,
  u32,
} from "./_build.ts";
import {
  capabilities,
  type Entry,
  HEAD,
  mappedFile,
  MEBIBYTE,
  type Pieces,
  readMapped,
  TWO_BLOCKS,
} from "./_mapped_file.ts";

const BLOCKS = [{ name: "pc.ram", usedLength: 10 * PAGE }, {
  name: "vga.vram",
  usedLength: 2 * PAGE,
}];
const NO_UUID = new Uint8Array(16);

// reading

for (const pieceSize of [1, 7, 4096, 4 * MEBIBYTE]) {
  test(`MainChannelReader reads a mapped-ram file in pieces of ${pieceSize} bytes`, () => {
    const file = mappedFile();
    const events = readMapped(file, pieceSize);
    assertEquals(events.map(({ type }) => type), [
      "configuration",
      "mapped-pages",
      "mapped-pages",
      "blocks",
      "sync",
      "sync",
      "sync",
      "ram-end",
      "end",
    ]);
    assertEquals(only(events, "configuration")[0]!.capabilities, ["mapped-ram"]);
    assertEquals(only(events, "blocks")[0]!.blocks, BLOCKS);
    assertEquals(only(events, "mapped-pages"), [
      {
        type: "mapped-pages",
        ...BLOCKS[0]!,
        pagesOffset: MEBIBYTE,
        bitmap: Uint8Array.of(2, 2, 0, 0, 0, 0, 0, 0),
      },
      {
        type: "mapped-pages",
        ...BLOCKS[1]!,
        pagesOffset: 2 * MEBIBYTE,
        bitmap: new Uint8Array(8),
      },
    ]);
    assertEquals(only(events, "end")[0]!.tail.devices, [
      { name: "timer", instanceId: 0, bytes: 26 },
    ]);
  });
}

test("MainChannelReader takes a block without pages among the others of a mapped-ram file", () => {
  const entries = [TWO_BLOCKS[0]!, { name: "empty", usedLength: 0 }, TWO_BLOCKS[1]!];
  const pages = only(readMapped(mappedFile({ entries })), "mapped-pages");
  assertEquals(pages.map(({ pagesOffset, bitmap }) => [pagesOffset / MEBIBYTE, bitmap.length]), [
    [1, 8],
    [2, 0],
    [3, 8],
  ]);
});

// refusing

/** One file that is valid but for one thing. */
function refuses(
  what: string,
  pieces: Pieces | Uint8Array,
  words: string,
  facts: ErrorFacts = {},
  Class: typeof ProtocolError = ProtocolError,
): void {
  test(`MainChannelReader refuses a mapped-ram file with ${what}`, () => {
    const file = pieces instanceof Uint8Array ? pieces : mappedFile(pieces);
    assertRefused(() => readMapped(file), Class, words, facts);
  });
}

const withBlock = (entry: Entry): Pieces => ({ entries: [{ ...TWO_BLOCKS[0]!, ...entry }] });
/** Where the first block's header is: behind the head, START, MEM_SIZE, name and length. */
const HEADER = HEAD.length + startHead().length + 8 + 7 + 8;
const BITMAP = HEADER + 28;

refuses("another version of the header", withBlock({ version: 2 }), "wrong version", {
  block: "pc.ram",
  offset: HEADER,
  expected: 1,
  received: 2,
});
refuses("another page size", withBlock({ pageSize: 8192 }), "another page size", {
  expected: 4096,
  received: 8192,
});
refuses("a page size of 2^63", withBlock({ pageSize: 2n ** 63n }), "another page size");
refuses("a bitmap elsewhere", withBlock({ bitmapOffset: BITMAP + 8 }), "not follow its header", {
  expected: BITMAP,
  received: BITMAP + 8,
});
refuses("a bitmap at 2^63", withBlock({ bitmapOffset: 2n ** 63n }), "not follow its header");
refuses("pages that are not aligned", withBlock({ pagesOffset: MEBIBYTE + PAGE }), "not aligned", {
  received: MEBIBYTE + PAGE,
});
refuses("pages over its bitmap", withBlock({ pagesOffset: 0 }), "overlap its bitmap", {
  expected: `at least ${BITMAP + 8}`,
  received: 0,
});
refuses("pages past its end", withBlock({ pagesOffset: 2 * MEBIBYTE }), "past the end of the file");
refuses("pages at 2^63", withBlock({ pagesOffset: 2n ** 63n }), "past the end of the file");
refuses("pages at 2^64 - 1 MiB", withBlock({ pagesOffset: 2n ** 64n - 2n ** 20n }), "past the end");
refuses(
  "bits past the last page",
  withBlock({ bitmap: [0, 4, 0, 0, 0, 0, 0, 0] }),
  "past the end",
  {
    block: "pc.ram",
    expected: "bits below 10",
  },
);
refuses(
  "a bit in the last byte of a bitmap",
  withBlock({ bitmap: [0, 0, 0, 0, 0, 0, 0, 128] }),
  "has pages past the end of the block",
);
refuses("a block twice", { entries: [{}, {}] }, 'RAM block "pc.ram" is announced twice');
refuses(
  "a block longer than all RAM",
  { entries: [{ usedLength: 2 * PAGE }], total: PAGE },
  "longer than the total leaves",
);
refuses(
  "a block of half a page",
  { entries: [{ usedLength: 2048, bitmap: new Uint8Array(8) }], total: PAGE },
  "not whole pages",
);
refuses("more RAM than is taken", { total: 2n ** 63n }, "RAM is too large");
refuses("no blocks", { entries: [] }, "RAM has no blocks");
refuses(
  "a page among its sections",
  {
    end: concat(record(0x008, 0), name("pc.ram"), new Uint8Array(PAGE), EOS, footer(), end(EOS)),
  },
  "RAM record in a mapped-ram file",
  { received: "0x8" },
);
refuses("a zero page among its sections", {
  end: concat(record(0x002, 0), name("pc.ram"), [0], EOS, footer(), end(EOS)),
}, "RAM record in a mapped-ram file");
refuses(
  "MULTIFD_FLUSH",
  {
    end: concat(FLUSH, EOS, footer(), end(EOS)),
  },
  "RAM record in a mapped-ram file",
  { received: "0x200" },
);
refuses(
  "another capability, too",
  {
    head: configuration("pc", capabilities("mapped-ram", "x-ignore-shared")),
  },
  "capability x-ignore-shared is on",
  {},
  UnsupportedError,
);
refuses("no capability", { head: configuration("pc") }, "mapped-ram", {}, UnsupportedError);
refuses(
  "bytes behind its end",
  concat(mappedFile(), [0]),
  "goes on after the VM description",
);

test("MainChannelReader refuses the capability mapped-ram on a connection", () => {
  const reader = new MainChannelReader();
  assertRefused(
    () => [...reader.push(mappedFile())],
    UnsupportedError,
    "capability mapped-ram is on",
  );
});

test("MainChannelReader tells of a mapped-ram file that is cut short", () => {
  const file = mappedFile();
  for (const size of [3, 100, HEADER + 5, BITMAP + 4, file.length - 1]) {
    const reader = new MainChannelReader({ fileSize: file.length });
    let read = 0;
    while ((read = reader.position) < size) {
      for (const _ of reader.push(file.slice(read, size)));
    }
    assertThrows(() => reader.end(), PeerClosedError);
  }
});

test("MainChannelReader ends with a named error, or well, whatever bytes of a file are wrong", () => {
  const file = mappedFile();
  const random = new Random(11);
  let refused = 0;
  for (let i = 0; i < 3000; i++) {
    // around the first and the second block's headers, and in the end
    const place = [0, MEBIBYTE + 10 * PAGE, file.length - 300][random.below(3)]!;
    const at = place + random.below(300);
    const before = file[at]!;
    file[at] = random.below(256);
    try {
      readMapped(file);
    } catch (error) {
      if (!(error instanceof MultifdError)) throw error;
      refused++;
    }
    file[at] = before;
  }
  assert(refused > 1000, `${refused} were refused`);
});

// writing

test("bitmapSize() is whole 64-bit words", () => {
  assertEquals([0, 1, 64, 65, 2 ** 28].map(bitmapSize), [0, 8, 8, 16, 2 ** 25]);
});

test("placePages() aligns each block's pages behind the block before", () => {
  const blocks = [
    { name: "a", usedLength: 4 * 2 ** 30 },
    { name: "b", usedLength: PAGE },
    { name: "c".repeat(255), usedLength: MEBIBYTE },
    { name: "d", usedLength: 0 },
  ];
  // the first has a bitmap of 128 KiB; the second ends a page behind a MiB
  assertEquals(placePages(blocks, PAGE), [
    MEBIBYTE,
    4 * 2 ** 30 + 2 * MEBIBYTE,
    4 * 2 ** 30 + 3 * MEBIBYTE,
    4 * 2 ** 30 + 5 * MEBIBYTE,
  ]);
});

/** A file as a target writes it, with the pages left out of it. */
function write(machine: string, uuid: Uint8Array, pageSize = PAGE): Uint8Array {
  const blocks = BLOCKS.map(({ name, usedLength }) => ({
    name,
    usedLength: usedLength / PAGE * pageSize,
  }));
  const places = placePages(blocks, pageSize);
  const last = places[1]! + blocks[1]!.usedLength;
  const file = new Uint8Array(last + 1024);
  let at = 0;
  const put = (bytes: Uint8Array): void => {
    file.set(bytes, at);
    at += bytes.length;
  };
  put(encodeMappedHead(machine, uuid, blocks, pageSize));
  for (const [i, block] of blocks.entries()) {
    const bitmap = Uint8Array.of(i + 1, 0, 0, 0, 0, 0, 0, 0);
    put(encodeMappedBlock(block, pageSize, { pagesOffset: places[i]!, bitmap }, at));
    at = places[i]! + block.usedLength;
  }
  put(encodeMappedEnd());
  put(tail({ name: "timer", body: [1, 2] }));
  return file.slice(0, at);
}

test("encodeMappedBlock() and its kin write the file of the format", () => {
  const entries = BLOCKS.map((block, i) => ({ ...block, bitmap: [i + 1, 0, 0, 0, 0, 0, 0, 0] }));
  const expected = mappedFile({ entries, end: concat(EOS, footer(), end(EOS)) });
  assertSame(write("pc-q35-10.0", NO_UUID), expected);
});

test("encodeMappedHead() tells the uuid and the page size behind and before the capabilities", () => {
  const uuid = Uint8Array.from({ length: 16 }, (_, i) => i);
  const head = configuration(
    "virt-10.0",
    subsection("configuration/target-page-bits", u32(16)),
    capabilities("mapped-ram"),
    subsection("configuration/uuid", uuid),
  );
  const file = write("virt-10.0", uuid, 65536);
  assertEquals(file.slice(0, head.length), head);
  const [told] = only(readMapped(file), "configuration");
  assertEquals([told!.pageSize, told!.uuid], [65536, uuid]);
});

test("encodeMappedHead() leaves room for the longest head and refuses a longer one", () => {
  const uuid = new Uint8Array(16).fill(1);
  const file = write("m".repeat(255), uuid, 65536);
  assertEquals(only(readMapped(file), "blocks")[0]!.blocks[1]!.usedLength, 2 * 65536);
  assertThrows(() => write("m".repeat(1000), uuid), OptionError, "Machine type is too long");
});
