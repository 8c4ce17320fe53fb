import fs from "node:fs";
import { advise as adviseFor } from "../advise/advise.ts";
import type { SenderProgram } from "../advise/candidates.ts";
import { parseDevice } from "../advise/devices.ts";
import { reportHtml } from "../advise/report.ts";
import { OptionError } from "../errors.ts";
import { methodNames } from "../methods/registry.ts";
import { imageError } from "../ram/files.ts";
import { adviceJson, adviceText } from "./advise_text.ts";
import type { Options, Verb } from "./args.ts";
import { EXIT } from "./exit_code.ts";
import { print, tell } from "./output.ts";
import { ownCommand, withSignals } from "./_shared.ts";

/** `multifd advise`. */
export const advise: Verb = {
  name: "advise",
  summary: "Tells which method, level and number of channels to use, from the guest's own pages.",
  usage: "SOURCE|--pid PID [options]",
  options: {
    pid: { kind: "number", value: "PID", help: "sample a running QEMU's guest; it is not stopped" },
    sender: {
      kind: "text",
      value: "WHO",
      choices: ["multifd", "qemu"],
      help: "whose migration it is (default qemu for a running guest, else multifd)",
    },
    link: { kind: "text", value: "SPEED", help: "the link, 1G, 25G, 800M bit/s (default 10G)" },
    cores: {
      kind: "text",
      value: "N[,M]",
      help: "cores for it at source, destination (default all)",
    },
    channels: { kind: "number", value: "N", help: "number of channels (default the best)" },
    ram: { kind: "size", value: "SIZE", help: "guest RAM (default the source's size)" },
    "dirty-rate": {
      kind: "text",
      value: "RATE",
      help: "what the guest writes: 200M (bytes/s) or 50000p (pages/s) (default 0: paused)",
    },
    "working-set": { kind: "size", value: "SIZE", help: "what it writes in at all (default all)" },
    "downtime-limit": { kind: "seconds", value: "S", help: "longest standstill (default 0.3)" },
    device: {
      kind: "list",
      value: "D=N",
      help: "iaa=N or qat=N on each host, at published rates, or iaa=N@GB/s",
    },
    method: { kind: "list", value: "M,...", choices: methodNames(), help: "methods (default all)" },
    level: { kind: "list", value: "L,...", help: "levels to measure (default 1,3,6)" },
    quick: { kind: "flag", help: "do not try what migrations cost here, take a typical machine" },
    sample: { kind: "size", value: "SIZE", help: "how much to sample (default 64M)" },
    seed: { kind: "number", value: "N", help: "chooses what is sampled (default 1)" },
    "page-size": { kind: "size", value: "B", help: "page size in bytes (default 4096)" },
    report: { kind: "text", value: "FILE", help: "write a page with plots, HTML" },
  },
  examples: [
    ["multifd advise guest.ram --link 10G --cores 4", "an image, 4 cores on either host"],
    ["multifd advise --pid 4711 --link 25G --dirty-rate 300M", "a running guest; needs -A"],
    ["multifd advise saved-vm --device iaa=1 --report advice.html", "with an accelerator; plots"],
  ],
  async run(options) {
    const [operand, ...more] = options.operands;
    if (more.length > 0) throw new OptionError(`Argument ${more[0]} is one too many`);
    const pid = options.number("pid");
    if ((operand === undefined) === (pid === undefined)) {
      throw new OptionError("Name one SOURCE, or a process with --pid");
    }
    const quiet = options.flag("quiet");
    const advice = await withSignals((signal) =>
      adviseFor({
        source: operand ?? { pid: pid! },
        sender: options.text<SenderProgram>("sender"),
        link: optional(options, "link", parseLink),
        cores: optional(options, "cores", parseCores),
        channels: options.number("channels"),
        ram: options.number("ram"),
        dirtyRate: optional(
          options,
          "dirty-rate",
          (text) => parseRate(text, options.number("page-size") ?? 4096),
        ),
        workingSet: options.number("working-set"),
        downtimeLimit: options.number("downtime-limit"),
        devices: options.list("device").map(parseDevice),
        methods: methodsOf(options),
        levels: levelsOf(options),
        sample: options.number("sample"),
        seed: options.number("seed"),
        pageSize: options.number("page-size"),
        command: options.flag("quick") ? undefined : ownCommand(),
        signal,
        onProgress: (what) => quiet ? undefined : tell(what),
      })
    );
    print(options.flag("json") ? JSON.stringify(adviceJson(advice)) : adviceText(advice));
    // last: minutes of measuring are not lost where it cannot be written
    const report = options.text("report");
    if (report !== undefined) writeReport(report, reportHtml(advice));
    return EXIT.done;
  },
};

function optional<T>(options: Options, name: string, parse: (text: string) => T): T | undefined {
  const text = options.text(name);
  return text === undefined ? undefined : parse(text);
}

const UNITS: Record<string, number> = { "": 1, K: 1e3, M: 1e6, G: 1e9 };

function parseLink(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([MG])(?:bit\/s|bps)?$/i.exec(text);
  if (match !== null) return Number(match[1]) * UNITS[match[2]!.toUpperCase()]!;
  throw new OptionError(`--link ${text} is no speed: write 800M, 1G or 25G (bits per second)`);
}

function parseRate(text: string, pageSize: number): number {
  const pages = /^(\d+)p(?:ages)?$/.exec(text);
  if (pages !== null) return Number(pages[1]) * pageSize;
  const bytes = /^(\d+(?:\.\d+)?)([KMG]?)(?:B\/s)?$/i.exec(text);
  if (bytes !== null) return Number(bytes[1]) * UNITS[bytes[2]!.toUpperCase()]!;
  throw new OptionError(
    `--dirty-rate ${text} is no rate: write 200M (bytes/s) or 50000p (pages/s)`,
  );
}

function parseCores(text: string): [number, number] {
  const match = /^([1-9]\d*)(?:,([1-9]\d*))?$/.exec(text);
  if (match !== null) return [Number(match[1]), Number(match[2] ?? match[1])];
  throw new OptionError(`--cores ${text} is no number: write 4, or 4,8 for source and destination`);
}

function methodsOf(options: Options): string[] | undefined {
  const methods = options.list("method");
  return methods.length > 0 ? methods : undefined;
}

function levelsOf(options: Options): number[] | undefined {
  const levels = options.list("level");
  const wrong = levels.find((level) => !/^\d+$/.test(level));
  if (wrong !== undefined) throw new OptionError(`--level ${wrong} is no number`);
  return levels.length > 0 ? levels.map(Number) : undefined;
}

function writeReport(file: string, html: string): void {
  try {
    fs.writeFileSync(file, html);
  } catch (error) {
    throw imageError("Cannot write", file, error);
  }
}
