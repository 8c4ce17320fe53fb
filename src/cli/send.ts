import { OptionError } from "../errors.ts";
import { send as sendImage } from "../migration/send.ts";
import type { ZeroPages } from "../channels/sending_channel.ts";
import type { SyncMode } from "../protocol/main_channel.ts";
import type { Transport } from "../migration/transports.ts";
import type { Verb } from "./args.ts";
import { engineOf, engineOptions } from "./engines.ts";
import { EXIT } from "./exit_code.ts";
import { metricsFileOf, metricsFileOption } from "./metrics_file.ts";
import { countsLine, CpuMeter, migrationJson, print, summary } from "./output.ts";
import { progressLine } from "./progress.ts";
import { senderTlsOptions, tlsOf } from "./tls.ts";
import {
  maxRamOption,
  methodOption,
  timeoutOption,
  transportOption,
  withSignals,
} from "./_shared.ts";

/** `multifd send`. */
export const send: Verb = {
  name: "send",
  summary: "Sends an image to a multifd destination: multifd recv, or a QEMU with -incoming.",
  usage: "IMAGE... --to ADDR [options]",
  options: {
    to: { kind: "text", value: "ADDR", help: "HOST:PORT, [V6]:PORT or unix:PATH" },
    method: { ...methodOption, help: "compression method (default zstd)" },
    level: { kind: "number", value: "L", help: "compression level (default 1)" },
    channels: { kind: "number", value: "N", help: "number of channels, 1 to 255 (default 2)" },
    ...engineOptions,
    verify: { kind: "flag", help: "decompress everything before it is sent, and compare" },
    transport: transportOption,
    ...senderTlsOptions,
    "zero-pages": {
      kind: "text",
      value: "M",
      choices: ["multifd", "legacy", "none"],
      help: "where zero pages travel (default multifd, legacy with --sync section)",
    },
    sync: {
      kind: "text",
      value: "S",
      choices: ["round", "section"],
      help: "how syncs are marked, section for machine types before 8.1 (default round)",
    },
    "max-ram": { ...maxRamOption, help: "most guest RAM in a mapped-ram file (default 1T)" },
    "page-size": { kind: "size", value: "B", help: "page size in bytes (default 4096)" },
    machine: { kind: "text", value: "NAME", help: "machine type, as the destination has it" },
    "max-bandwidth": {
      kind: "size",
      value: "SIZE",
      help: "most bytes a second, over all channels together (default no limit)",
    },
    dense: { kind: "flag", help: "let qpl, uadk, and zstd at level 1, compress more, more slowly" },
    "uadk-compress": { kind: "flag", help: "let uadk compress; needs a receiver that can read it" },
    timeout: timeoutOption,
    ...metricsFileOption,
  },
  examples: [
    ["multifd send guest.ram --to 127.0.0.1:4444", "a raw file, as the block pc.ram"],
    ["multifd send saved-vm --to host2:4444 --method qpl --channels 4", "a directory recv wrote"],
    ["multifd send vm.mapped-ram --to host2:4444", "a file of recv, or of QEMU's migrate file:"],
    ["multifd send pc.ram=a.img vga.vram=b.img --to unix:/tmp/vm.sock", "two blocks"],
  ],
  async run(options) {
    if (options.operands.length === 0) throw new OptionError("IMAGE is missing");
    const to = options.required("to");
    const progress = progressLine(options.flag("quiet"));
    const metrics = metricsFileOf(options, "send");
    const cpu = new CpuMeter();
    const done = withSignals((signal) =>
      sendImage({
        image: options.operands,
        to,
        method: options.text("method"),
        level: options.number("level"),
        channels: options.number("channels"),
        engine: engineOf(options),
        fallback: !options.flag("no-fallback"),
        transport: options.text<Transport>("transport"),
        tls: tlsOf(options),
        zeroPages: options.text<ZeroPages>("zero-pages"),
        sync: options.text<SyncMode>("sync"),
        pageSize: options.number("page-size"),
        machine: options.text("machine"),
        maxRam: options.number("max-ram"),
        verify: options.flag("verify"),
        maxBandwidth: options.number("max-bandwidth"),
        dense: options.flag("dense"),
        uadkCompress: options.flag("uadk-compress"),
        timeout: options.number("timeout"),
        signal,
        onEvent: (event) => {
          cpu.onEvent(event);
          progress(event);
          metrics.onEvent(event);
        },
      })
    );
    const info = await metrics.follow(done, (info) => info);
    if (options.flag("json")) {
      print(JSON.stringify({ ...migrationJson(info), ...cpu.json() }));
      return EXIT.done;
    }
    print(`sent ${summary(info)}`);
    if (info.engineCounts !== undefined) print(countsLine(info.engine, info.engineCounts));
    const caught = info.perChannel.reduce((sum, { verifyCaught }) => sum + verifyCaught, 0);
    if (options.flag("verify")) print(`verify: ${caught} payloads were wrong and made anew`);
    return EXIT.done;
  },
};
