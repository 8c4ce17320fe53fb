/** mapped-ram files put together by hand, byte for byte, to break one thing in. */
import type { MainChannelEvent } from "../../src/protocol/main_channel_event.ts";
import { MainChannelReader } from "../../src/protocol/main_channel_reader.ts";
import {
  type Bytes,
  concat,
  configuration,
  end,
  EOS,
  footer,
  name,
  PAGE,
  part,
  record,
  startHead,
  subsection,
  tail,
  u32,
  u64,
} from "./_build.ts";

/** Where pages may start. */
export const MEBIBYTE = 2 ** 20;

/** A block as a file has it: what is not told is as it should be. */
export interface Entry {
  name?: string;
  usedLength?: number | bigint;
  version?: number;
  pageSize?: number | bigint;
  bitmapOffset?: number | bigint;
  pagesOffset?: number | bigint;
  bitmap?: Bytes;
  /** The pages that are in the file. */
  pages?: Bytes;
}

/** The pieces of a file. */
export interface Pieces {
  head?: Bytes;
  /** What MEM_SIZE says. */
  total?: number | bigint;
  entries?: Entry[];
  /** From behind the last block's pages to the end of RAM. */
  end?: Bytes;
  tail?: Bytes;
}

/** The configuration's capabilities. */
export function capabilities(...names: string[]): Uint8Array {
  return subsection("configuration/capabilities", u32(names.length), ...names.map(name));
}

/** The head of a file. */
export const HEAD: Bytes = configuration("pc-q35-10.0", capabilities("mapped-ram"));

/** Behind the pages: the end of START, a PART as QEMU has it, and END. */
export const RAM_END: Bytes = concat(EOS, footer(), part(EOS), end(EOS));

/** A file with two blocks, of ten pages and of two. */
export const TWO_BLOCKS: Entry[] = [
  { name: "pc.ram", usedLength: 10 * PAGE, bitmap: [0b10, 0b10, 0, 0, 0, 0, 0, 0] },
  { name: "vga.vram", usedLength: 2 * PAGE },
];

/** A whole file. */
export function mappedFile(pieces: Pieces = {}): Uint8Array {
  const entries = pieces.entries ?? TWO_BLOCKS;
  const sum = entries.reduce((sum, { usedLength = PAGE }) => sum + BigInt(usedLength), 0n);
  let file = concat(
    pieces.head ?? HEAD,
    startHead(),
    record(0x004, pieces.total ?? sum),
  );
  for (const entry of entries) file = concat(file, ...entryBytes(entry, file.length));
  return concat(file, pieces.end ?? RAM_END, pieces.tail ?? tail({ name: "timer", body: [1, 2] }));
}

function entryBytes(entry: Entry, at: number): Bytes[] {
  const { usedLength = PAGE, version = 1, pageSize = PAGE, pages = [] } = entry;
  const start = concat(name(entry.name ?? "pc.ram"), u64(usedLength));
  const bitmapOffset = at + start.length + 28;
  const length = Number(usedLength);
  const bitmap = entry.bitmap ?? new Uint8Array(8 * Math.ceil(length / PAGE / 64));
  const pagesOffset = MEBIBYTE * Math.ceil((bitmapOffset + bitmap.length) / MEBIBYTE);
  return [
    ...[start, u32(version), u64(pageSize), u64(entry.bitmapOffset ?? bitmapOffset)],
    ...[u64(entry.pagesOffset ?? pagesOffset), bitmap],
    ...[new Uint8Array(pagesOffset - bitmapOffset - bitmap.length), pages],
    new Uint8Array(length - pages.length),
  ];
}

/** Every event of a file that is read in pieces of some size. */
export function readMapped(file: Uint8Array, pieceSize = 64 * 1024): MainChannelEvent[] {
  const reader = new MainChannelReader({ fileSize: file.length });
  const events: MainChannelEvent[] = [];
  while (reader.position < file.length) {
    events.push(...reader.push(file.slice(reader.position, reader.position + pieceSize)));
  }
  reader.end();
  return events;
}
