/** What `multifd inspect` tells of a recording or a saved VM that is whole. */
import type { DirectoryReport, MappedRamReport, RecordingReport } from "../migration/inspect.ts";
import type { RoundPages } from "../ram/manifest.ts";
import { blockJson, channelJson, formatBytes, print, receivedJson, table } from "./output.ts";

/** Rounds that are shown from each end of a migration. */
const SHOWN_ROUNDS = 10;

type Report = RecordingReport | DirectoryReport | MappedRamReport;

/** Prints a report for people. */
export function printReport(report: Report): void {
  if (report.kind === "recording") printRecording(report);
  else if (report.kind === "mapped-ram") printMappedRam(report);
  else printDirectory(report);
}

function listOf(names: readonly string[]): string {
  return names.length > 0 ? names.join(", ") : "none";
}

function tailJson({ tail }: Report): Record<string, unknown> {
  return {
    "device-state-bytes": tail.bytes.length,
    "vmdesc-bytes": tail.descriptionBytes,
    devices: tail.devices.map(({ name, instanceId, bytes }) => ({
      name,
      "instance-id": instanceId,
      bytes,
    })),
  };
}

/** A report in the names of the JSON. */
export function reportJson(report: Report): Record<string, unknown> {
  if (report.kind === "directory") {
    return {
      status: "completed",
      kind: report.kind,
      machine: report.machine,
      uuid: report.uuid,
      "page-size": report.pageSize,
      blocks: report.blocks.map(blockJson),
      verified: report.isVerified,
      ...tailJson(report),
      counters: report.counters,
      ...(report.source === undefined ? {} : { source: report.source }),
    };
  }
  if (report.kind === "mapped-ram") {
    return {
      status: "completed",
      kind: report.kind,
      machine: report.machine,
      uuid: report.uuid,
      "page-size": report.pageSize,
      capabilities: report.capabilities,
      blocks: report.blocks.map((block) => ({
        ...blockJson(block),
        "present-pages": block.presentPages,
      })),
      ...tailJson(report),
    };
  }
  return { ...receivedJson(report), kind: report.kind, ...tailJson(report) };
}

function printBlocks({ blocks }: RecordingReport | DirectoryReport): void {
  print(table([
    ["block", "length", "sha256"],
    ...blocks.map((block) => [block.name, formatBytes(block.usedLength), block.sha256 ?? "none"]),
  ]));
  for (const { name, missing } of blocks) {
    if (missing > 0) print(`${missing} pages of ${name} never arrived and are zero`);
  }
}

/** Devices of one name together, largest first: there is one for each processor of a guest. */
function printTail({ tail }: Report): void {
  print(
    `device state: ${tail.bytes.length} bytes, ${tail.devices.length} devices, ` +
      `description ${tail.descriptionBytes} bytes`,
  );
  const devices = new Map<string, { instances: number; bytes: number }>();
  for (const { name, bytes } of tail.devices) {
    const device = devices.get(name) ?? { instances: 0, bytes: 0 };
    devices.set(name, { instances: device.instances + 1, bytes: device.bytes + bytes });
  }
  const rows = [...devices].sort(([, a], [, b]) => b.bytes - a.bytes);
  print(table([
    ["device", "instances", "bytes"],
    ...rows.map(([name, { instances, bytes }]) => [name, String(instances), String(bytes)]),
  ]));
}

/** Pages of each round; of many rounds the first ones and the last ones. */
export function printRounds(rounds: readonly RoundPages[]): void {
  const isShown = (i: number): boolean => i < SHOWN_ROUNDS || i >= rounds.length - SHOWN_ROUNDS;
  const rows = rounds.map(({ normal, duplicate }, i) => [`${i + 1}`, `${normal}`, `${duplicate}`]);
  print(table([["round", "pages", "zero pages"], ...rows.filter((_, i) => isShown(i))]));
  if (rounds.length > 2 * SHOWN_ROUNDS) {
    print(`rounds ${SHOWN_ROUNDS + 1} to ${rounds.length - SHOWN_ROUNDS} are in --json`);
  }
}

function printRepeated(pages: number): void {
  print(`${pages} pages were sent more than once`);
}

function printRecording(report: RecordingReport): void {
  print(
    `recording of ${report.machine}: method ${report.method}, ${report.channels} channels, ` +
      `${report.ram.dirtySyncCount} rounds, syncs per ${report.sync}` +
      `${report.lenientPacketNumbers ? ", packet numbers of QEMU 7.2 or 8" : ""}`,
  );
  print(table([
    ["channel", "packets", "pages", "zero pages", "rounds", "bytes"],
    ...report.perChannel.map(channelJson).map((channel) =>
      ["id", "packets", "normal", "duplicate", "syncs", "bytes"].map((name) =>
        String(channel[name])
      )
    ),
  ]));
  printRounds(report.rounds);
  printRepeated(report.repeatedPages);
  printBlocks(report);
  printTail(report);
  print("verified: every byte");
}

function printDirectory(report: DirectoryReport): void {
  print(`VM of ${report.machine}, uuid ${report.uuid}, ${report.pageSize} bytes a page`);
  const { source, counters: { sync, rounds, "repeated-pages": repeated } } = report;
  if (source !== undefined) {
    print(`source: QEMU ${source["qemu-version"]}, capabilities ${listOf(source.capabilities)}`);
  }
  if (rounds !== undefined) {
    print(`${rounds.length} rounds, syncs per ${sync}`);
    printRounds(rounds);
    printRepeated(repeated ?? 0);
  }
  printBlocks(report);
  printTail(report);
  print(
    report.isVerified
      ? "verified: every block has the hash of the manifest"
      : "not verified: the manifest has no hash of some blocks",
  );
}

function printMappedRam(report: MappedRamReport): void {
  print(
    `mapped-ram file of ${report.machine}, uuid ${report.uuid}, ${report.pageSize} bytes a page, ` +
      `capabilities ${listOf(report.capabilities)}`,
  );
  print(table([
    ["block", "length", "pages present", "sha256"],
    ...report.blocks.map(({ name, usedLength, presentPages, sha256 }) => [
      name,
      formatBytes(usedLength),
      String(presentPages),
      sha256!,
    ]),
  ]));
  printTail(report);
  print("verified: everything but the pages, which carry no hash");
}
