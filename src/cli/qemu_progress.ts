/** The progress line of a verb that drives a QEMU: ours, and QEMU's own words beside it. */
import type { QemuMigration } from "../qemu/migration_status.ts";
import { isObject } from "../qemu/qmp_message.ts";
import type { QemuEvent } from "../qemu/save.ts";
import { type CpuMeter, formatBytes } from "./output.ts";
import { progressLine } from "./progress.ts";

function render({ status, ram }: QemuMigration): string {
  const remaining = isObject(ram) ? ram.remaining : undefined;
  const left = typeof remaining === "number" ? `, ${formatBytes(remaining)} remaining` : "";
  return `; QEMU: ${status}${left}`;
}

/** Makes an event handler that keeps people informed on stderr. */
export function qemuProgress(quiet: boolean, cpu: CpuMeter): (event: QemuEvent) => void {
  let beside = "";
  const progress = progressLine(quiet, () => beside);
  return (event) => {
    if (event.type === "qemu") {
      beside = render(event.info);
    } else {
      cpu.onEvent(event);
      progress(event);
    }
  };
}
