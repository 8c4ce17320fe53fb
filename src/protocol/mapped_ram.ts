/**
 * mapped-ram: the migration stream in one file, where each block's pages have places of
 * their own, so that they can be written and read in any order.
 *
 * Behind a block's name and length come a header, a bitmap of the pages that hold data, a
 * gap, and the pages; then the next block. RAM's sections hold nothing else.
 */
import { ByteWriter } from "./byte_writer.ts";
import { encodeName, readU64, viewOf } from "./bytes.ts";
import { OptionError, ProtocolError } from "../errors.ts";
import { MainChannelWriter } from "./main_channel_writer.ts";
import type { RamBlock } from "./ram_packet.ts";

/** The capability that says of a stream that it is such a file. */
export const MAPPED_RAM = "mapped-ram";
/** Bytes of the header behind a block's name and length. */
export const MAPPED_RAM_HEADER_SIZE = 28;

const HEADER_VERSION = 1;
/** QEMU refuses pages that start elsewhere: they must suit direct I/O. */
const PAGES_ALIGNMENT = 1024 * 1024;
/**
 * More than what comes before the first block can take, 420 bytes: so the pages' places are
 * known before the machine type and the uuid are.
 */
const HEAD_ROOM = 1024;

/** Where a mapped-ram file has a block's pages. */
export interface MappedPages {
  /** Where its first page is in the file, in bytes. */
  pagesOffset: number;
  /** The pages that hold data: page i is bit i & 7 of byte i >> 3. The others are zero. */
  bitmap: Uint8Array;
}

/** Bytes of the bitmap of so many pages: whole 64-bit words. */
export function bitmapSize(pages: number): number {
  return 8 * Math.ceil(pages / 64);
}

/**
 * Places blocks in a file.
 *
 * @param blocks The blocks, in order.
 * @param pageSize Page size in bytes.
 * @returns Where each block's first page is, in bytes.
 */
export function placePages(blocks: readonly RamBlock[], pageSize: number): number[] {
  let at = HEAD_ROOM;
  return blocks.map(({ name, usedLength }) => {
    const entry = 1 + encodeName(name).length + 8 + MAPPED_RAM_HEADER_SIZE;
    const size = entry + bitmapSize(usedLength / pageSize);
    const pagesOffset = PAGES_ALIGNMENT * Math.ceil((at + size) / PAGES_ALIGNMENT);
    at = pagesOffset + usedLength;
    return pagesOffset;
  });
}

/** Where syncs are marked per section, a section without pages is its end alone. */
const writer = new MainChannelWriter("section");

/**
 * Makes what a file has before its first block.
 *
 * @param machine Machine type.
 * @param uuid The guest's uuid, 16 bytes; told only where it is not zero.
 * @param blocks The blocks, in order.
 * @param pageSize Page size in bytes.
 * @throws {OptionError} If the machine type is too long.
 */
export function encodeMappedHead(
  machine: string,
  uuid: Uint8Array,
  blocks: readonly RamBlock[],
  pageSize: number,
): Uint8Array {
  const hasUuid = uuid.some((byte) => byte !== 0);
  const more = { capabilities: [MAPPED_RAM], uuid: hasUuid ? uuid : undefined };
  const bytes = new ByteWriter().raw(writer.head(machine, pageSize, more))
    .raw(writer.ramSize(blocks)).done();
  if (bytes.length <= HEAD_ROOM) return bytes;
  throw new OptionError("Machine type is too long for a mapped-ram file", {
    received: `${encodeName(machine).length} bytes`,
  });
}

/** Makes what a file has behind its last block's pages: the rest of the RAM's sections. */
export function encodeMappedEnd(): Uint8Array {
  return new ByteWriter().raw(writer.ramPartEnd()).raw(writer.ramEnd()).done();
}

/**
 * Makes what a file has before a block's gap: name, length, header, bitmap.
 *
 * @param block The block.
 * @param pageSize Page size in bytes.
 * @param pages Where its pages are, and which hold data.
 * @param at Where in the file this goes.
 */
export function encodeMappedBlock(
  { name, usedLength }: RamBlock,
  pageSize: number,
  { pagesOffset, bitmap }: MappedPages,
  at: number,
): Uint8Array {
  const entry = new ByteWriter().name(name).u64(usedLength);
  const bitmapOffset = at + entry.length + MAPPED_RAM_HEADER_SIZE;
  return entry.u32(HEADER_VERSION).u64(pageSize).u64(bitmapOffset).u64(pagesOffset)
    .raw(bitmap).done();
}

/** What a header must fit. */
export interface MappedRamContext {
  /** The block it is of. */
  block: RamBlock;
  /** Page size in bytes. */
  pageSize: number;
  /** Where in the file the header ends. */
  headerEnd: number;
  /** Bytes of the file. */
  fileSize: number;
}

/**
 * Reads a block's header.
 *
 * @param header The 28 bytes.
 * @param context What it must fit.
 * @returns Where the block's first page is in the file, in bytes.
 * @throws {ProtocolError} On the first check that fails.
 */
export function parseMappedRamHeader(header: Uint8Array, context: MappedRamContext): number {
  const { block: { name: block, usedLength }, pageSize, headerEnd, fileSize } = context;
  const refuse = (what: string, expected: string | number, received: number): never => {
    const offset = headerEnd - MAPPED_RAM_HEADER_SIZE;
    throw new ProtocolError(what, { block, offset, expected, received });
  };
  const view = viewOf(header);
  const version = view.getUint32(0);
  if (version !== HEADER_VERSION) {
    refuse("Block's header has a wrong version", HEADER_VERSION, version);
  }
  const size = readU64(view, 4);
  if (size !== pageSize) refuse("Block has another page size", pageSize, size);
  const bitmapOffset = readU64(view, 12);
  if (bitmapOffset !== headerEnd) {
    refuse("Block's bitmap does not follow its header", headerEnd, bitmapOffset);
  }
  const pagesOffset = readU64(view, 20);
  if (pagesOffset % PAGES_ALIGNMENT !== 0) {
    refuse("Block's pages are not aligned", `a multiple of ${PAGES_ALIGNMENT}`, pagesOffset);
  }
  const bitmapEnd = headerEnd + bitmapSize(usedLength / pageSize);
  if (pagesOffset < bitmapEnd) {
    refuse("Block's pages overlap its bitmap", `at least ${bitmapEnd}`, pagesOffset);
  }
  if (pagesOffset > fileSize - usedLength) {
    const most = Math.max(0, fileSize - usedLength);
    refuse("Block's pages are past the end of the file", `at most ${most}`, pagesOffset);
  }
  return pagesOffset;
}

/**
 * Checks a bitmap.
 *
 * @param bitmap The bitmap, of {@linkcode bitmapSize} bytes.
 * @param block Its block's name.
 * @param pages Pages of the block.
 * @throws {ProtocolError} If it has bits for pages that the block has not.
 */
export function checkBitmap(bitmap: Uint8Array, block: string, pages: number): void {
  const last = Math.floor(pages / 8);
  const isClean = bitmap.subarray(last + 1).every((byte) => byte === 0) &&
    (bitmap[last] ?? 0) >> (pages % 8) === 0;
  if (isClean) return;
  throw new ProtocolError("Block's bitmap has pages past the end of the block", {
    block,
    expected: `bits below ${pages}`,
  });
}
