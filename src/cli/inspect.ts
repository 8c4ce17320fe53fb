import { OptionError } from "../errors.ts";
import { isDamage } from "../inspect/items.ts";
import type { PacketFilter, PageAddress } from "../inspect/packets.ts";
import { inspect as inspectPath } from "../migration/inspect.ts";
import { isRecording } from "../transport/recording.ts";
import type { Options, Verb } from "./args.ts";
import { EXIT } from "./exit_code.ts";
import { tellDamaged } from "./inspect_damaged.ts";
import { listPackets } from "./inspect_packets.ts";
import { tellPage } from "./inspect_page.ts";
import { printReport, reportJson } from "./inspect_text.ts";
import { print } from "./output.ts";
import { bytesLine } from "./progress.ts";
import { maxRamOption, withSignals } from "./_shared.ts";

/** `multifd inspect`. */
export const inspect: Verb = {
  name: "inspect",
  summary: "Verifies a recording or a saved VM to the byte and tells what is in it.",
  usage: "PATH [options]",
  options: {
    extract: { kind: "text", value: "OUT", help: "rebuild a recording's RAM as a directory" },
    missing: {
      kind: "text",
      value: "M",
      choices: ["error", "zero"],
      help: "pages that never arrived: an error, or zero (default error)",
    },
    packets: {
      kind: "flag",
      help: "list a recording's packets, past damage; with --json a JSON object in each line",
    },
    channel: {
      kind: "text",
      value: "N",
      help: "of --packets those of channel N; main for the main channel's records",
    },
    block: { kind: "text", value: "NAME", help: "of --packets those with pages of this block" },
    page: {
      kind: "text",
      value: "BLOCK:OFFSET",
      help: "every time a page was sent, and what it held; of --packets those that carry it",
    },
    "max-ram": maxRamOption,
  },
  examples: [
    ["multifd inspect saved-vm", "compare a received directory with its manifest"],
    ["multifd inspect vm.mapped-ram", "check a mapped-ram file, ours or QEMU's, and hash its RAM"],
    ["multifd inspect recording", "play main.bin, ch0.bin… through a receiver"],
    ["multifd inspect recording --extract vm --json", "and keep the RAM it gives"],
    [
      "multifd inspect recording --packets --channel 1",
      "list what came on a channel, damaged or not",
    ],
    ["multifd inspect recording --page pc.ram:0x1000", "what became of a page, round by round"],
  ],
  async run(options) {
    const [path, ...more] = options.operands;
    if (path === undefined) throw new OptionError("PATH is missing");
    if (more.length > 0) throw new OptionError(`Argument ${more[0]} is one too many`);
    const filter = filterOf(options);
    const asJson = options.flag("json");
    const maxRam = options.number("max-ram");
    return await withSignals(async (signal) => {
      if (options.flag("packets")) {
        return await listPackets(path, filter, { maxRam, signal }, asJson);
      }
      if (filter.page) return await tellPage(path, filter.page, { maxRam, signal }, asJson);
      try {
        const report = await inspectPath(path, {
          extract: options.text("extract"),
          missing: options.text<"error" | "zero">("missing"),
          maxRam,
          signal,
          onProgress: bytesLine("read", options.flag("quiet")),
        });
        if (asJson) print(JSON.stringify(reportJson(report)));
        else printReport(report);
        return EXIT.done;
      } catch (error) {
        if (!isDamage(error) || !isRecording(path)) throw error;
        return await tellDamaged(path, error, { maxRam, signal }, asJson);
      }
    });
  },
};

/** What `--channel`, `--block` and `--page` ask for. */
function filterOf(options: Options): PacketFilter {
  const [channel, block, page] = ["channel", "block", "page"].map((name) => options.text(name));
  const isList = options.flag("packets");
  for (const [name, value] of Object.entries({ channel, block })) {
    if (value !== undefined && !isList) throw new OptionError(`--${name} goes with --packets only`);
  }
  for (const name of ["extract", "missing"]) {
    if (options.text(name) === undefined || (!isList && page === undefined)) continue;
    throw new OptionError(`--${name} does not go with --${isList ? "packets" : "page"}`);
  }
  return {
    channel: channel === undefined ? undefined : parseChannel(channel),
    block,
    page: page === undefined ? undefined : parsePage(page),
  };
}

function parseChannel(text: string): number | "main" {
  if (text === "main") return text;
  if (/^\d{1,3}$/.test(text)) return Number(text);
  throw new OptionError(`--channel ${text} is neither a number nor main`);
}

/** A block's name may hold a colon itself, e.g. `0000:00:02.0/vga.vram`. */
function parsePage(text: string): PageAddress {
  const [, block, digits] = /^(.+):(0x[0-9a-f]+|\d+)$/i.exec(text) ?? [];
  const offset = Number(digits);
  if (block !== undefined && Number.isSafeInteger(offset)) return { block, offset };
  throw new OptionError(`--page ${text} is no page: write BLOCK:OFFSET, e.g. pc.ram:0x1000`);
}
