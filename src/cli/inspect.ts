import { OptionError } from "../errors.ts";
import {
  type DirectoryReport,
  inspect as inspectPath,
  type RecordingReport,
} from "../migration/inspect.ts";
import type { Verb } from "./args.ts";
import { EXIT } from "./exit_code.ts";
import { blockJson, channelJson, formatBytes, migrationJson, print, table } from "./output.ts";
import { withSignals } from "./_shared.ts";

/** `multifd inspect`. */
export const inspect: Verb = {
  name: "inspect",
  summary: "Verifies a recording or a received directory to the byte and tells what is in it.",
  usage: "PATH [options]",
  options: {
    extract: { kind: "text", value: "OUT", help: "rebuild a recording's RAM as a directory" },
    missing: {
      kind: "text",
      value: "M",
      choices: ["error", "zero"],
      help: "pages that never arrived: an error, or zero (default error)",
    },
    "max-ram": { kind: "size", value: "SIZE", help: "most guest RAM to take (default 1T)" },
  },
  examples: [
    ["multifd inspect saved-vm", "compare a received directory with its manifest"],
    ["multifd inspect recording", "play main.bin, ch0.bin… through a receiver"],
    ["multifd inspect recording --extract vm --json", "and keep the RAM it gives"],
  ],
  async run(options) {
    const [path, ...more] = options.operands;
    if (path === undefined) throw new OptionError("PATH is missing");
    if (more.length > 0) throw new OptionError(`Argument ${more[0]} is one too many`);
    const report = await withSignals((signal) =>
      inspectPath(path, {
        extract: options.text("extract"),
        missing: options.text<"error" | "zero">("missing"),
        maxRam: options.number("max-ram"),
        signal,
      })
    );
    if (options.flag("json")) print(JSON.stringify(reportJson(report)));
    else if (report.kind === "recording") printRecording(report);
    else printDirectory(report);
    return EXIT.done;
  },
};

function tailJson({ tail }: RecordingReport | DirectoryReport): Record<string, unknown> {
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

function reportJson(report: RecordingReport | DirectoryReport): Record<string, unknown> {
  if (report.kind === "directory") {
    return {
      status: "completed",
      kind: report.kind,
      machine: report.machine,
      uuid: report.uuid,
      "page-size": report.pageSize,
      blocks: report.blocks.map(blockJson),
      ...tailJson(report),
      counters: report.counters,
    };
  }
  return {
    ...migrationJson(report),
    kind: report.kind,
    uuid: report.uuid,
    sync: report.sync,
    rounds: report.ram.dirtySyncCount,
    "repeated-pages": report.repeatedPages,
    ...tailJson(report),
  };
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

function printTail({ tail }: RecordingReport | DirectoryReport): void {
  print(
    `device state: ${tail.bytes.length} bytes, ${tail.devices.length} devices, ` +
      `description ${tail.descriptionBytes} bytes`,
  );
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
  print(`${report.repeatedPages} pages were sent more than once`);
  printBlocks(report);
  printTail(report);
  print("verified: every byte");
}

function printDirectory(report: DirectoryReport): void {
  print(`VM of ${report.machine}, uuid ${report.uuid}, ${report.pageSize} bytes a page`);
  printBlocks(report);
  printTail(report);
  const isHashed = report.blocks.every(({ sha256 }) => sha256 !== undefined);
  print(isHashed ? "verified: every block has the hash of the manifest" : "");
}
