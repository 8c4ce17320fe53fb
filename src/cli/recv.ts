import { OptionError } from "../errors.ts";
import { receive } from "../migration/receive.ts";
import type { Transport } from "../migration/transports.ts";
import type { ImageFormat } from "../ram/image_format.ts";
import { parseUuid } from "../ram/manifest.ts";
import type { Options, Verb } from "./args.ts";
import { engineOf, engineOptions } from "./engines.ts";
import { EXIT } from "./exit_code.ts";
import { metricsFileOf, metricsFileOption } from "./metrics_file.ts";
import {
  countsLine,
  CpuMeter,
  formatBytes,
  print,
  receivedJson,
  summary,
  table,
  tell,
} from "./output.ts";
import { progressLine } from "./progress.ts";
import { listenerTlsOptions, tlsOf } from "./tls.ts";
import {
  formatOption,
  maxRamOption,
  methodOption,
  timeoutOption,
  transportOption,
  withSignals,
} from "./_shared.ts";

/** What is to be made: the argument, or `--out`. */
function outOf(options: Options): string {
  const [operand, ...more] = options.operands;
  if (operand === undefined) return options.required("out");
  const extra = options.text("out") === undefined ? more[0] : operand;
  if (extra === undefined) return operand;
  throw new OptionError(`Argument ${extra} is one too many`);
}

/** The one guest to take. */
function uuidOf(options: Options): Uint8Array | undefined {
  const text = options.text("uuid");
  if (text === undefined) return undefined;
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) return parseUuid(text);
  throw new OptionError(`--uuid ${text} is no uuid`);
}

/** `multifd recv`. */
export const recv: Verb = {
  name: "recv",
  summary: "Receives a migration into a directory or a file, which appears only when complete.",
  usage: "OUT [--listen ADDR] [options]",
  options: {
    listen: {
      kind: "text",
      value: "ADDR",
      help: "HOST:PORT, [V6]:PORT or unix:PATH (default 127.0.0.1:0, any port)",
    },
    out: { kind: "text", value: "OUT", help: "what to make, instead of the argument OUT" },
    format: { ...formatOption, help: `${formatOption.help} (default directory)` },
    method: { ...methodOption, help: "the one method to take (default: what arrives)" },
    channels: {
      kind: "number",
      value: "N",
      help: "how many channels will come (default: as many as are open at the first sync)",
    },
    "max-channels": {
      kind: "number",
      value: "N",
      help: "most channels to take without --channels (default 64)",
    },
    ...engineOptions,
    verify: { kind: "flag", help: "have software check what a device decompressed" },
    transport: transportOption,
    ...listenerTlsOptions,
    uuid: { kind: "text", value: "UUID", help: "take only the guest with this uuid" },
    "max-ram": maxRamOption,
    hash: {
      kind: "text",
      value: "HASH",
      choices: ["sha256", "none"],
      help: "hash of each block; its source waits for it, 0.6 s per GiB (default sha256)",
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
    ...metricsFileOption,
  },
  examples: [
    ["multifd recv --listen 127.0.0.1:4444 --out saved-vm", "take one migration"],
    ["multifd recv --out vm --channels 4 --method zstd", "only what was agreed, on any port"],
    ["multifd recv --format mapped-ram vm.mapped-ram", "for QEMU: -incoming file:vm.mapped-ram"],
    ["multifd recv --listen unix:/tmp/vm.sock --out vm --record rec", "keep a recording, too"],
  ],
  async run(options) {
    const into = outOf(options);
    const progress = progressLine(options.flag("quiet"));
    const metrics = metricsFileOf(options, "recv");
    const cpu = new CpuMeter();
    const timeout = options.number("timeout");
    const done = withSignals((signal) =>
      receive({
        listen: options.text("listen") ?? "127.0.0.1:0",
        into,
        format: options.text<ImageFormat>("format"),
        method: options.text("method"),
        channels: options.number("channels"),
        maxChannels: options.number("max-channels"),
        engine: engineOf(options),
        verify: options.flag("verify"),
        fallback: !options.flag("no-fallback"),
        transport: options.text<Transport>("transport"),
        tls: tlsOf(options),
        uuid: uuidOf(options),
        maxRam: options.number("max-ram"),
        hash: options.text<"sha256" | "none">("hash"),
        missing: options.text<"error" | "zero">("missing"),
        record: options.text("record"),
        timeout,
        acceptTimeout: timeout,
        signal,
        onEvent: (event) => {
          if (event.type === "listening") tell(`listening on ${event.address}`);
          cpu.onEvent(event);
          progress(event);
          metrics.onEvent(event);
        },
      })
    );
    const received = await metrics.follow(done, (received) => received);
    if (options.flag("json")) {
      print(JSON.stringify({ ...receivedJson(received), ...cpu.json() }));
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
