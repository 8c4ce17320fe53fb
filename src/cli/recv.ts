import { OptionError } from "../errors.ts";
import { receive } from "../migration/receive.ts";
import type { Transport } from "../migration/transports.ts";
import type { Verb } from "./args.ts";
import { engineOf, engineOptions } from "./engines.ts";
import { EXIT } from "./exit_code.ts";
import { countsLine, formatBytes, migrationJson, print, summary, table, tell } from "./output.ts";
import { progressLine } from "./progress.ts";
import { methodOption, timeoutOption, transportOption, withSignals } from "./_shared.ts";

/** `multifd recv`. */
export const recv: Verb = {
  name: "recv",
  summary: "Receives a migration into a directory, which appears only when it is complete.",
  usage: "--out DIR [--listen ADDR] [options]",
  options: {
    listen: {
      kind: "text",
      value: "ADDR",
      help: "HOST:PORT, [V6]:PORT or unix:PATH (default 127.0.0.1:0, any port)",
    },
    out: { kind: "text", value: "DIR", help: "the directory to make" },
    method: { ...methodOption, help: "the one method to take (default: what arrives)" },
    channels: {
      kind: "number",
      value: "N",
      help: "how many channels will come (default: as many as are open at the first sync)",
    },
    ...engineOptions,
    verify: { kind: "flag", help: "have software check what a device decompressed" },
    transport: transportOption,
    "max-ram": { kind: "size", value: "SIZE", help: "most guest RAM to take (default 1T)" },
    hash: {
      kind: "text",
      value: "HASH",
      choices: ["sha256", "none"],
      help: "hash of each block, for the manifest (default sha256)",
    },
    missing: {
      kind: "text",
      value: "M",
      choices: ["error", "zero"],
      help: "pages that never arrive: an error, or zero (default error)",
    },
    record: { kind: "text", value: "DIR", help: "also keep every connection's bytes" },
    timeout: {
      ...timeoutOption,
      help: "give up when nothing moves for so long, 0 for never (default 60, but never " +
        "before the first connection; if given, then too)",
    },
  },
  examples: [
    ["multifd recv --listen 127.0.0.1:4444 --out saved-vm", "take one migration"],
    ["multifd recv --out vm --channels 4 --method zstd", "only what was agreed, on any port"],
    ["multifd recv --listen unix:/tmp/vm.sock --out vm --record rec", "keep a recording, too"],
  ],
  async run(options) {
    if (options.operands.length > 0) {
      throw new OptionError(`Argument ${options.operands[0]} is one too many`);
    }
    const into = options.required("out");
    const progress = progressLine(options.flag("quiet"));
    const timeout = options.number("timeout");
    const received = await withSignals((signal) =>
      receive({
        listen: options.text("listen") ?? "127.0.0.1:0",
        into,
        method: options.text("method"),
        channels: options.number("channels"),
        engine: engineOf(options),
        verify: options.flag("verify"),
        fallback: !options.flag("no-fallback"),
        transport: options.text<Transport>("transport"),
        maxRam: options.number("max-ram"),
        hash: options.text<"sha256" | "none">("hash"),
        missing: options.text<"error" | "zero">("missing"),
        record: options.text("record"),
        timeout,
        acceptTimeout: timeout,
        signal,
        onEvent: (event) => {
          if (event.type === "listening") tell(`listening on ${event.address}`);
          progress(event);
        },
      })
    );
    if (options.flag("json")) {
      print(JSON.stringify(migrationJson(received)));
      return EXIT.done;
    }
    print(`received ${summary(received)}`);
    if (received.engineCounts !== undefined) {
      print(countsLine(received.engine, received.engineCounts));
    }
    print(table([
      ["block", "length", "sha256"],
      ...received.blocks.map((b) => [b.name, formatBytes(b.usedLength), b.sha256 ?? "not hashed"]),
    ]));
    return EXIT.done;
  },
};
