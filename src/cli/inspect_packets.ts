/** `multifd inspect --packets`: a line for each packet, as it is read. */
import type { Damage, RecordedMainRecord, RecordedPacket } from "../inspect/items.ts";
import { filtered, type PacketFilter, startOfPage } from "../inspect/packets.ts";
import { type RecordingOptions, RecordingReader } from "../inspect/recording_reader.ts";
import { methodByFlag } from "../methods/registry.ts";
import { hex } from "../protocol/bytes.ts";
import { FLAG_SYNC, METHOD_MASK } from "../protocol/ram_packet.ts";
import { EXIT, exitCodeOf } from "./exit_code.ts";
import { failureJson, print, printLine, tell } from "./output.ts";

/** Widths are set before the rows are known; a negative one is of text, to the left. */
const COLUMNS: readonly [name: string, width: number][] = [
  ["channel", 7],
  ["packet", 7],
  ["packet_num", 10],
  ["round", 6],
  ["offset", 11],
  ["flags", -10],
  ["method", -7],
  ["normal", 6],
  ["zero", 5],
  ["payload", 8],
  ["block", 0],
];

/**
 * Lists packets.
 *
 * @returns The exit code: of the first thing that is wrong.
 */
export async function listPackets(
  recording: string,
  filter: PacketFilter,
  options: RecordingOptions,
  asJson: boolean,
): Promise<number> {
  const reader = new RecordingReader(recording, options);
  let first: Damage | undefined;
  let damages = 0;
  let packets = 0;
  if (!asJson) print(row(COLUMNS.map(([name]) => name)));
  for await (const item of filtered(reader, filter)) {
    if (item.type === "damage") {
      first ??= item;
      damages++;
    }
    if (item.type === "packet") packets++;
    const isRead = await printLine(asJson ? JSON.stringify(itemJson(item)) : itemText(item));
    // as with `| head`: the rest of a large recording need not be read
    if (!isRead) return first === undefined ? EXIT.done : exitCodeOf(first.error);
  }
  const { machine, pageSize } = reader.main;
  if (asJson) {
    print(JSON.stringify({
      type: "end",
      status: damages === 0 ? "completed" : "failed",
      machine: machine ?? null,
      "page-size": pageSize,
      packets,
      damages,
    }));
  }
  if (filter.page !== undefined) tellRounded(filter.page.offset, pageSize);
  if (first === undefined) return EXIT.done;
  tell(`multifd inspect: ${countOf(damages)} wrong, at first: ${first.error.message}`);
  return exitCodeOf(first.error);
}

/** Says so of an offset that is not a page's first. */
export function tellRounded(offset: number, pageSize: number): void {
  const start = startOfPage(offset, pageSize);
  if (start !== offset) tell(`${hex(offset)} is in the page at ${hex(start)}`);
}

/** How many things. */
export function countOf(things: number): string {
  return things === 1 ? "1 thing is" : `${things} things are`;
}

/** The names of a packet's flags, the method's among them. */
function flagNames(flags: number): string[] {
  const method = flags & METHOD_MASK;
  return [
    ...(flags & FLAG_SYNC ? ["SYNC"] : []),
    ...(method ? [methodByFlag(method)?.name.toUpperCase() ?? hex(method)] : []),
  ];
}

function row(cells: readonly string[]): string {
  return cells.map((cell, i) => {
    const width = COLUMNS[i]![1];
    return width < 0 ? cell.padEnd(-width) : cell.padStart(width);
  }).join("  ").trimEnd();
}

function itemText(item: RecordedPacket | RecordedMainRecord | Damage): string {
  if (item.type === "damage") return damageText(item);
  const { round, offset, block } = item;
  if (item.type === "record") {
    const { channel, kind, page } = item;
    const at = page === undefined ? "" : `${block} ${hex(page)}`;
    const cells = [channel, "", "", `${round}`, hex(offset), kind.toUpperCase()];
    return row([...cells, "", "", "", "", at]);
  }
  const { channel, packet, packetNum, flags, method, normalPages, zeroPages, payloadBytes } = item;
  return row([
    `${channel}`,
    `${packet}`,
    `${packetNum}`,
    `${round}`,
    hex(offset),
    flagNames(flags).join("|") || "-",
    method ?? "-",
    `${normalPages}`,
    `${zeroPages}`,
    `${payloadBytes}`,
    `${block ?? "-"}${isDecoded(item) ? "" : " (cannot be decompressed)"}`,
  ]);
}

function isDecoded({ normalPages, data }: RecordedPacket): boolean {
  return normalPages === 0 || data !== undefined;
}

/** A damage in a line. */
export function damageText({ error, offset, isReadOn }: Damage): string {
  const how = isReadOn ? "read on behind it" : "nothing behind it can be read";
  return `WRONG at ${hex(offset)} of its file, ${how}: ${error.message}`;
}

function itemJson(item: RecordedPacket | RecordedMainRecord | Damage): Record<string, unknown> {
  if (item.type === "damage") return { type: item.type, ...damageJson(item) };
  const { type, channel, round, offset } = item;
  const common = { type, channel, round, "file-offset": offset, block: item.block ?? null };
  if (item.type === "record") return { ...common, kind: item.kind, page: item.page ?? null };
  return {
    ...common,
    packet: item.packet,
    "packet-num": item.packetNum,
    flags: flagNames(item.flags),
    sync: (item.flags & FLAG_SYNC) !== 0,
    method: item.method ?? null,
    normal: item.normalPages,
    duplicate: item.zeroPages,
    "payload-bytes": item.payloadBytes,
    decoded: isDecoded(item),
  };
}

/** A damage in the names of the JSON; `offset` is in the block where one is named. */
export function damageJson({ error, offset, isReadOn }: Damage): Record<string, unknown> {
  const { status: _, ...facts } = failureJson(error);
  return { ...facts, "file-offset": offset, "read-on": isReadOn };
}
