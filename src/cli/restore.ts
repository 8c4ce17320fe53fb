import { OptionError } from "../errors.ts";
import type { SyncMode } from "../protocol/main_channel.ts";
import type { Transport } from "../migration/transports.ts";
import { type RestoredVm, restoreVm } from "../qemu/restore.ts";
import type { Verb } from "./args.ts";
import { engineOf, engineOptions } from "./engines.ts";
import { EXIT } from "./exit_code.ts";
import { metricsFileOf, metricsFileOption } from "./metrics_file.ts";
import { countsLine, CpuMeter, migrationJson, print, summary } from "./output.ts";
import { qemuProgress } from "./qemu_progress.ts";
import { methodOption, timeoutOption, transportOption, withSignals } from "./_shared.ts";

/** `multifd restore`. */
export const restore: Verb = {
  name: "restore",
  summary:
    "Restores a guest into a QEMU, driving it over QMP: RAM and device state only, no disks.",
  usage: "SAVED --qmp SOCKET [options]",
  options: {
    qmp: { kind: "text", value: "SOCKET", help: "QEMU's QMP socket: a path or HOST:PORT" },
    method: { ...methodOption, help: "compression method (default zstd if QEMU has it)" },
    level: { kind: "number", value: "L", help: "compression level (default 1)" },
    channels: {
      kind: "number",
      value: "N",
      help: "number of channels, 1 to 255 (default: as QEMU is set, 2)",
    },
    sync: {
      kind: "text",
      value: "S",
      choices: ["round", "section"],
      help: "how QEMU reads sync markers (default: as its machine type does)",
    },
    listen: {
      kind: "text",
      value: "ADDR",
      help: "where QEMU listens: HOST:PORT or unix:PATH (default 127.0.0.1:0, any port)",
    },
    ...engineOptions,
    verify: { kind: "flag", help: "decompress everything before it is sent, and compare" },
    transport: transportOption,
    timeout: timeoutOption,
    ...metricsFileOption,
  },
  examples: [
    [
      "qemu-system-x86_64 -M pc-q35-10.0 -m 2048 ... -incoming defer -qmp unix:/run/vm.qmp,server=on,wait=off",
      "a QEMU as the guest had it: machine type, memory, devices; disks as they were then",
    ],
    ["multifd restore saved-vm --qmp /run/vm.qmp", "the guest goes on where it was saved"],
    ["multifd restore vm --qmp /run/vm.qmp --method none --channels 4", "without compression"],
  ],
  async run(options) {
    const [image, ...more] = options.operands;
    if (image === undefined) throw new OptionError("SAVED is missing");
    if (more.length > 0) throw new OptionError(`Argument ${more[0]} is one too many`);
    const qmp = options.required("qmp");
    const metrics = metricsFileOf(options, "restore");
    const cpu = new CpuMeter();
    const progress = qemuProgress(options.flag("quiet"), cpu);
    const done = withSignals((signal) =>
      restoreVm({
        image,
        qmp,
        method: options.text("method"),
        level: options.number("level"),
        channels: options.number("channels"),
        sync: options.text<SyncMode>("sync"),
        listen: options.text("listen"),
        engine: engineOf(options),
        fallback: !options.flag("no-fallback"),
        verify: options.flag("verify"),
        transport: options.text<Transport>("transport"),
        timeout: options.number("timeout"),
        signal,
        onEvent: (event) => {
          progress(event);
          metrics.onEvent(event);
        },
      })
    );
    const restored = await metrics.follow(done, ({ sent }) => sent);
    if (options.flag("json")) {
      print(JSON.stringify({ ...restoredJson(restored), ...cpu.json() }));
      return EXIT.done;
    }
    const { sent, qemuVersion, guest } = restored;
    print(`restored ${summary(sent)}`);
    print(`QEMU ${qemuVersion}: the guest is ${guest.after}${whyNotRunning(guest.after)}`);
    if (sent.engineCounts !== undefined) print(countsLine(sent.engine, sent.engineCounts));
    return EXIT.done;
  },
};

function whyNotRunning(state: string): string {
  if (state === "running") return "";
  return ": it was saved so, or QEMU was started with -S; cont in its monitor starts it";
}

function restoredJson({ sent, qemu, qemuVersion, guest }: RestoredVm): Record<string, unknown> {
  return { ...migrationJson(sent), guest, qemu: { version: qemuVersion, ...qemu } };
}
