import { OptionError } from "../errors.ts";
import { convert as convertVm } from "../migration/convert.ts";
import type { ImageFormat } from "../ram/image_format.ts";
import type { Verb } from "./args.ts";
import { EXIT } from "./exit_code.ts";
import { blockJson, formatBytes, print, table } from "./output.ts";
import { bytesLine } from "./progress.ts";
import { formatOption, maxRamOption, withSignals } from "./_shared.ts";

/** `multifd convert`. */
export const convert: Verb = {
  name: "convert",
  summary: "Turns a received directory into a mapped-ram file for QEMU, or one into a directory.",
  usage: "SOURCE --out OUT [options]",
  options: {
    out: { kind: "text", value: "OUT", help: "what to make" },
    format: { ...formatOption, help: `${formatOption.help} (default: what SOURCE is not)` },
    "max-ram": maxRamOption,
  },
  examples: [
    ["multifd convert saved-vm --out vm.mapped-ram", "for QEMU: -incoming file:vm.mapped-ram"],
    ["multifd convert vm.mapped-ram --out saved-vm", "and back, also what QEMU itself has made"],
  ],
  async run(options) {
    const [source, ...more] = options.operands;
    if (source === undefined) throw new OptionError("SOURCE is missing");
    if (more.length > 0) throw new OptionError(`Argument ${more[0]} is one too many`);
    const out = options.required("out");
    const converted = await withSignals((signal) =>
      convertVm({
        source,
        out,
        format: options.text<ImageFormat>("format"),
        maxRam: options.number("max-ram"),
        signal,
        onProgress: bytesLine("copied", options.flag("quiet")),
      })
    );
    const { format, machine, uuid, pageSize, blocks } = converted;
    if (options.flag("json")) {
      print(JSON.stringify({
        status: "completed",
        format,
        machine,
        uuid,
        "page-size": pageSize,
        blocks: blocks.map(blockJson),
      }));
      return EXIT.done;
    }
    print(`made ${out}, a ${format === "directory" ? format : "mapped-ram file"} of ${machine}`);
    print(table([
      ["block", "length", "sha256"],
      ...blocks.map(({ name, usedLength, sha256 }) => [name, formatBytes(usedLength), sha256!]),
    ]));
    return EXIT.done;
  },
};
