import { OptionError } from "../errors.ts";
import type { Transport } from "../migration/transports.ts";
import type { ImageFormat } from "../ram/image_format.ts";
import { type SavedVm, saveVm } from "../qemu/save.ts";
import type { Verb } from "./args.ts";
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
} from "./output.ts";
import { qemuProgress } from "./qemu_progress.ts";
import {
  formatOption,
  maxRamOption,
  methodOption,
  timeoutOption,
  transportOption,
  withSignals,
} from "./_shared.ts";

/** `multifd save`. */
export const save: Verb = {
  name: "save",
  summary: "Saves a QEMU's guest, driving it over QMP: RAM and device state only, no disks.",
  usage: "--qmp SOCKET --out OUT [options]",
  options: {
    qmp: { kind: "text", value: "SOCKET", help: "QEMU's QMP socket: a path or HOST:PORT" },
    out: { kind: "text", value: "OUT", help: "what to make" },
    resume: {
      kind: "flag",
      help: "let a guest that was running go on afterwards (else it stays paused)",
    },
    method: { ...methodOption, help: "compression method (default: as QEMU is set, none)" },
    level: { kind: "number", value: "L", help: "compression level (default: as QEMU is set)" },
    channels: {
      kind: "number",
      value: "N",
      help: "number of channels, 1 to 255 (default: as QEMU is set, 2)",
    },
    "max-bandwidth": {
      kind: "size",
      value: "SIZE",
      help: "most bytes per second (default: as QEMU is set, 128M)",
    },
    listen: {
      kind: "text",
      value: "ADDR",
      help: "where QEMU connects to: HOST:PORT or unix:PATH (default 127.0.0.1:0, any port)",
    },
    ...engineOptions,
    transport: transportOption,
    format: { ...formatOption, help: `${formatOption.help} (default directory)` },
    "max-ram": maxRamOption,
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
    timeout: timeoutOption,
    ...metricsFileOption,
  },
  examples: [
    ["multifd save --qmp /run/vm.qmp --out saved-vm", "the guest is paused when it is saved"],
    ["multifd save --qmp /run/vm.qmp --out saved-vm --resume", "and goes on"],
    ["multifd save --qmp /run/vm.qmp --out vm --method zstd --channels 4", "QEMU compresses"],
    ["multifd save --qmp 127.0.0.1:4455 --out vm --max-bandwidth 10G", "as fast as it can"],
  ],
  async run(options) {
    if (options.operands.length > 0) {
      throw new OptionError(`Argument ${options.operands[0]} is one too many`);
    }
    const qmp = options.required("qmp");
    const into = options.required("out");
    const metrics = metricsFileOf(options, "save");
    const cpu = new CpuMeter();
    const progress = qemuProgress(options.flag("quiet"), cpu);
    const done = withSignals((signal) =>
      saveVm({
        qmp,
        into,
        resume: options.flag("resume"),
        method: options.text("method"),
        level: options.number("level"),
        channels: options.number("channels"),
        maxBandwidth: options.number("max-bandwidth"),
        listen: options.text("listen"),
        engine: engineOf(options),
        fallback: !options.flag("no-fallback"),
        transport: options.text<Transport>("transport"),
        format: options.text<ImageFormat>("format"),
        maxRam: options.number("max-ram"),
        hash: options.text<"sha256" | "none">("hash"),
        missing: options.text<"error" | "zero">("missing"),
        timeout: options.number("timeout"),
        signal,
        onEvent: (event) => {
          progress(event);
          metrics.onEvent(event);
        },
      })
    );
    const saved = await metrics.follow(done, ({ received }) => received);
    if (options.flag("json")) {
      print(JSON.stringify({ ...savedJson(saved), ...cpu.json() }));
      return EXIT.done;
    }
    const { received, qemu, qemuVersion, guest } = saved;
    print(`saved ${summary(received)}`);
    print(
      `QEMU ${qemuVersion}: total-time ${qemu["total-time"]} ms, downtime ${qemu.downtime} ms, ` +
        `setup-time ${qemu["setup-time"]} ms; the guest was ${guest.before}, is ${guest.after}`,
    );
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

function savedJson({ received, qemu, qemuVersion, guest }: SavedVm): Record<string, unknown> {
  return { ...receivedJson(received), guest, qemu: { version: qemuVersion, ...qemu } };
}
