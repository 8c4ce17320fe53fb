/** `multifd inspect --page`: what became of one page. */
import type { PageAddress } from "../inspect/packets.ts";
import {
  inspectPage,
  type PageContent,
  type PageCopy,
  type RecordedPageReport,
  type SavedPageReport,
} from "../inspect/page.ts";
import type { RecordingOptions } from "../inspect/recording_reader.ts";
import { hex } from "../protocol/bytes.ts";
import { EXIT, exitCodeOf } from "./exit_code.ts";
import { countOf, damageJson, tellRounded } from "./inspect_packets.ts";
import { print, table, tell } from "./output.ts";

/** Bytes in a line of a dump. */
const LINE = 16;

/**
 * Tells what became of a page.
 *
 * @returns The exit code: of the first thing that is wrong with the recording.
 */
export async function tellPage(
  source: string,
  page: PageAddress,
  options: RecordingOptions,
  asJson: boolean,
): Promise<number> {
  const report = await inspectPage(source, page, options);
  if (asJson) print(JSON.stringify(reportJson(report)));
  else if (report.kind === "recording") printRecorded(report);
  else printSaved(report);
  tellRounded(page.offset, report.pageSize);
  const [first] = report.kind === "recording" ? report.damages : [];
  if (first === undefined) return EXIT.done;
  const { length } = (report as RecordedPageReport).damages;
  tell(`multifd inspect: ${countOf(length)} wrong, at first: ${first.error.message}`);
  return exitCodeOf(first.error);
}

function contentJson({ isZero, sha256, head }: PageContent): Record<string, unknown> {
  return { zero: isZero, sha256, head: hexOf(head) };
}

function reportJson(report: RecordedPageReport | SavedPageReport): Record<string, unknown> {
  const { kind, block, offset, pageSize } = report;
  const common = { kind, block, offset, "page-size": pageSize };
  if (report.kind === "image") {
    return { status: "completed", ...common, ...contentJson(report.content) };
  }
  return {
    status: report.damages.length === 0 ? "completed" : "failed",
    ...common,
    copies: report.copies.map((copy) => ({
      round: copy.round,
      channel: copy.channel,
      packet: copy.packet ?? null,
      "packet-num": copy.packetNum ?? null,
      "file-offset": copy.offset,
      kind: copy.kind,
      method: copy.method ?? null,
      bytes: copy.bytes ?? null,
      ...(copy.content === undefined ? { sha256: null } : contentJson(copy.content)),
      last: report.last.includes(copy),
    })),
    damages: report.damages.map(damageJson),
  };
}

function printRecorded({ block, offset, copies, last }: RecordedPageReport): void {
  print(
    `page ${hex(offset)} of ${block} was sent ${
      copies.length === 1 ? "once" : `${copies.length} times`
    }`,
  );
  if (copies.length === 0) return;
  print(table([
    ["round", "channel", "packet", "packet_num", "in its file", "kind", "bytes", "sha256"],
    ...copies.map((copy) => [
      String(copy.round),
      String(copy.channel),
      String(copy.packet ?? "-"),
      String(copy.packetNum ?? "-"),
      hex(copy.offset),
      copy.kind,
      String(copy.bytes ?? "-"),
      copy.content?.sha256 ?? "cannot be decompressed",
    ]),
  ]));
  for (const copy of last) printLast(copy);
  if (last.length > 1) print("nothing tells which of them came last");
}

function printLast({ round, channel, packet, content }: PageCopy): void {
  const where = packet === undefined ? "the main channel" : `channel ${channel}, packet ${packet}`;
  print(`last word: round ${round}, ${where}`);
  if (content !== undefined) printContent(content);
}

function printSaved({ block, offset, content }: SavedPageReport): void {
  print(`page ${hex(offset)} of ${block}`);
  printContent(content);
}

function printContent({ isZero, sha256, head }: PageContent): void {
  print(`${isZero ? "zero" : "data"}, sha256 ${sha256}`);
  if (!isZero) print(dump(head));
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Bytes as hexdump -C shows them. */
function dump(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += LINE) {
    const line = bytes.subarray(at, at + LINE);
    const digits = Array.from(line, (byte) => hexOf(Uint8Array.of(byte))).join(" ");
    const text = Array.from(
      line,
      (byte) => byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".",
    );
    lines.push(`${at.toString(16).padStart(8, "0")}  ${digits}  |${text.join("")}|`);
  }
  return lines.join("\n");
}
