/** `inspectPage()`: all that is known of one page. */
import { createHash } from "node:crypto";
import { openSavedVm } from "../ram/image_format.ts";
import { isZeroPage } from "../ram/zero_page.ts";
import { isRecording } from "../transport/recording.ts";
import type { Damage, RecordedMainRecord, RecordedPacket } from "./items.ts";
import { checkPage, filtered, ordinalsOf, type PageAddress, startOfPage } from "./packets.ts";
import { type RecordingOptions, RecordingReader } from "./recording_reader.ts";

/** Bytes of a page that are told. */
const HEAD_SIZE = 64;

/** What a page holds. */
export interface PageContent {
  /** Whether it is all zero. */
  isZero: boolean;
  /** SHA-256 of it, in hex. */
  sha256: string;
  /** Its first 64 bytes. */
  head: Uint8Array;
}

/** One time that a page was sent. */
export interface PageCopy {
  /** The round; what a later one brings stands. */
  round: number;
  /** Channel number, or the main channel. */
  channel: number | "main";
  /** Ordinal of the packet on its channel, from 0; undefined on the main channel. */
  packet: number | undefined;
  /** The packet's number over all channels; undefined on the main channel. */
  packetNum: number | undefined;
  /** Where the packet's header, or the record, begins in the channel's file. */
  offset: number;
  /** Whether it was sent with its data or as a zero page. */
  kind: "normal" | "zero";
  /** Name of the packet's method; undefined on the main channel. */
  method: string | undefined;
  /** Compressed bytes of the page, where its method has them: qpl and uadk. */
  bytes: number | undefined;
  /** What it holds; undefined where that cannot be decompressed. */
  content: PageContent | undefined;
}

/** What a recording has of a page. */
export interface RecordedPageReport {
  /** What was looked at. */
  kind: "recording";
  /** Name of its block. */
  block: string;
  /** Its byte offset in the block. */
  offset: number;
  /** Page size in bytes. */
  pageSize: number;
  /** Every time it was sent, by round. */
  copies: PageCopy[];
  /**
   * The one that stands; none if it was never sent. More than one where the last round has it
   * on several channels, between which nothing tells an order.
   */
  last: PageCopy[];
  /** What is wrong with the recording: behind it there may have been more. */
  damages: Damage[];
}

/** What a saved VM has of a page. */
export interface SavedPageReport {
  /** What was looked at. */
  kind: "image";
  /** Name of its block. */
  block: string;
  /** Its byte offset in the block. */
  offset: number;
  /** Page size in bytes. */
  pageSize: number;
  /** What it holds. */
  content: PageContent;
}

/**
 * Tells every packet and record of a recording that carried a page, and what it held each time;
 * of a saved VM, what it holds.
 *
 * @param source A recording, a directory that was received, or a mapped-ram file.
 * @param page The page, by any byte in it.
 * @param options How a recording is read.
 * @returns What is known of it.
 * @throws {ImageError} If a file cannot be read.
 * @throws {OptionError} If there is no such block or page.
 * @throws {EngineUnavailableError} If the engine is unknown or cannot be used here.
 * @throws {CancelledError} If `signal` is aborted.
 *
 * @example
 * ```ts no-eval
 * import { inspectPage } from "@multifd/multifd";
 *
 * const page = await inspectPage("recording", { block: "pc.ram", offset: 0x1000 });
 * if (page.kind === "recording") console.log(page.copies.length, page.last[0]?.round);
 * ```
 */
export async function inspectPage(
  source: string,
  page: PageAddress,
  options: RecordingOptions = {},
): Promise<RecordedPageReport | SavedPageReport> {
  if (!isRecording(source)) return inspectSaved(source, page, options.maxRam);
  const reader = new RecordingReader(source, options);
  const copies: PageCopy[] = [];
  const damages: Damage[] = [];
  for await (const item of filtered(reader, { page })) {
    if (item.type === "damage") {
      damages.push(item);
      continue;
    }
    for (const i of ordinalsOf(item, page, reader.main.pageSize)) {
      copies.push(item.type === "record" ? recordCopy(item, reader) : packetCopy(item, i, reader));
    }
  }
  copies.sort((a, b) => a.round - b.round);
  const { pageSize } = reader.main;
  const offset = startOfPage(page.offset, pageSize);
  const last = lastOf(copies);
  return { kind: "recording", block: page.block, offset, pageSize, copies, last, damages };
}

function inspectSaved(source: string, page: PageAddress, maxRam?: number): SavedPageReport {
  const image = openSavedVm(source, maxRam);
  try {
    checkPage(new Map(image.blocks.map((block) => [block.name, block])), page);
    const pageSize = image.pageSize ?? 4096;
    const offset = startOfPage(page.offset, pageSize);
    const bytes = new Uint8Array(pageSize);
    image.read(image.blocks.findIndex(({ name }) => name === page.block), offset, bytes);
    return { kind: "image", block: page.block, offset, pageSize, content: contentOf(bytes) };
  } finally {
    image.close();
  }
}

function contentOf(page: Uint8Array): PageContent {
  return {
    isZero: isZeroPage(page),
    sha256: createHash("sha256").update(page).digest("hex"),
    head: page.slice(0, HEAD_SIZE),
  };
}

function recordCopy(record: RecordedMainRecord, { main }: RecordingReader): PageCopy {
  const { round, offset, data } = record;
  return {
    round,
    channel: "main",
    packet: undefined,
    packetNum: undefined,
    offset,
    kind: data === undefined ? "zero" : "normal",
    method: undefined,
    bytes: undefined,
    content: contentOf(data ?? new Uint8Array(main.pageSize)),
  };
}

function packetCopy(item: RecordedPacket, i: number, { main }: RecordingReader): PageCopy {
  const { pageSize } = main;
  const { round, channel, packet, packetNum, offset, method, lengths, data } = item;
  const isZero = i >= item.normalPages;
  const bytes = isZero
    ? new Uint8Array(pageSize)
    : data?.subarray(i * pageSize, (i + 1) * pageSize);
  return {
    round,
    channel,
    packet,
    packetNum,
    offset,
    kind: isZero ? "zero" : "normal",
    method,
    bytes: lengths?.[i],
    content: bytes && contentOf(bytes),
  };
}

/** The last copy of each channel in the last round. */
function lastOf(copies: readonly PageCopy[]): PageCopy[] {
  const round = copies.at(-1)?.round;
  const last = new Map<number | "main", PageCopy>();
  for (const copy of copies) if (copy.round === round) last.set(copy.channel, copy);
  return [...last.values()];
}
