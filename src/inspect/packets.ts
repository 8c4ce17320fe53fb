/** `packetsOf()`: a recording packet by packet. */
import { OptionError } from "../errors.ts";
import { hex } from "../protocol/bytes.ts";
import type { RamBlock } from "../protocol/ram_packet.ts";
import type { RecordedItem } from "./items.ts";
import { type RecordingOptions, RecordingReader } from "./recording_reader.ts";

/** A page of a guest. */
export interface PageAddress {
  /** Name of its block. */
  block: string;
  /** A byte offset in the block; any byte of the page. */
  offset: number;
}

/** Which packets {@linkcode packetsOf} gives. */
export interface PacketFilter {
  /** Those of one channel; `"main"` gives the main channel's records. Default all but those. */
  channel?: number | "main" | undefined;
  /** Those with pages of a block. */
  block?: string | undefined;
  /** Those with a page, and the main channel's records of it. */
  page?: PageAddress | undefined;
}

/** What {@linkcode packetsOf} can be told. */
export interface PacketsOptions extends PacketFilter, RecordingOptions {}

/**
 * Reads a recording packet by packet, in no more memory than one of them takes: channel after
 * channel, in the order of each. Nothing that is wrong ends it: damage is told where it is
 * found, behind the packet that has it, and what lies behind is read where a packet begins
 * there. Payloads are decompressed, so that damage in them is found, too.
 *
 * @param recording The directory with `main.bin`, `ch0.bin`…
 * @param options Which packets, and bounds.
 * @returns Packets, records of the main channel where they are asked for, and damage.
 * @throws {ImageError} If a file cannot be read.
 * @throws {OptionError} If there is no such channel, block or page.
 * @throws {EngineUnavailableError} If the engine is unknown or cannot be used here.
 * @throws {CancelledError} If `signal` is aborted.
 *
 * @example
 * ```ts no-eval
 * import { packetsOf } from "@multifd/multifd";
 *
 * for await (const item of packetsOf("recording", { block: "pc.ram" })) {
 *   if (item.type === "packet") console.log(item.channel, item.packetNum, item.pages.length);
 *   if (item.type === "damage") console.log(item.error.message);
 * }
 * ```
 */
export async function* packetsOf(
  recording: string,
  options: PacketsOptions = {},
): AsyncGenerator<RecordedItem, void, void> {
  yield* filtered(new RecordingReader(recording, options), options);
}

/**
 * Filters what a reader gives.
 *
 * @throws {OptionError} If there is no such channel, block or page.
 */
export async function* filtered(
  reader: RecordingReader,
  { channel, block, page }: PacketFilter,
): AsyncGenerator<RecordedItem, void, void> {
  const { main } = reader;
  const wantsRecords = channel === "main" || (channel === undefined && page !== undefined);
  const onMain = (): void => {
    if (main.blocks === undefined) return;
    if (block !== undefined) blockOf(main.blocks, block);
    if (page !== undefined) checkPage(main.blocks, page);
  };
  for await (const item of reader.items(channel, onMain)) {
    if (item.type !== "damage") {
      if (item.type === "record" && !wantsRecords) continue;
      if (block !== undefined && item.block !== block) continue;
      if (page !== undefined && ordinalsOf(item, page, main.pageSize).length === 0) continue;
    }
    yield item;
  }
}

/** The places of a page in a packet or record; none if it does not carry it. */
export function ordinalsOf(
  item: RecordedItem,
  { block, offset }: PageAddress,
  pageSize: number,
): number[] {
  const wanted = startOfPage(offset, pageSize);
  if (item.type === "damage" || item.block !== block) return [];
  if (item.type === "record") return item.page === wanted ? [0] : [];
  const ordinals: number[] = [];
  for (const [i, page] of item.pages.entries()) if (page === wanted) ordinals.push(i);
  return ordinals;
}

/** The offset of the page that a byte is in. */
export function startOfPage(offset: number, pageSize: number): number {
  return offset - offset % pageSize;
}

/**
 * A block by its name.
 *
 * @throws {OptionError} If there is none.
 */
export function blockOf(blocks: ReadonlyMap<string, RamBlock>, name: string): RamBlock {
  const block = blocks.get(name);
  if (block !== undefined) return block;
  const names = [...blocks.keys()].join(", ");
  throw new OptionError(`Block ${name} is unknown; there are: ${names}`);
}

/**
 * Checks that there is a page.
 *
 * @throws {OptionError} If there is no such block, or it is shorter.
 */
export function checkPage(blocks: ReadonlyMap<string, RamBlock>, page: PageAddress): void {
  const { usedLength } = blockOf(blocks, page.block);
  if (page.offset < usedLength) return;
  throw new OptionError(
    `Offset ${hex(page.offset)} is past the end of block ${page.block}, which has ${
      hex(usedLength)
    } bytes`,
  );
}
