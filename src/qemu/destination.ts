/** What a destination QEMU expects, told from its version and its machine type. */
import type { ZeroPages } from "../channels/sending_channel.ts";
import type { SyncMode } from "../protocol/main_channel.ts";

/** Whether a version as `10.0.2 (...)` is at least another. */
export function isAtLeast(version: string, major: number, minor: number): boolean {
  const match = /^(\d+)\.(\d+)/.exec(version);
  const [ours, theirs] = [Number(match?.[1] ?? 0), Number(match?.[2] ?? 0)];
  return ours > major || ours === major && theirs >= minor;
}

/**
 * How a destination reads sync markers: its machine type decides, per section before 8.1.
 *
 * @param machine Its machine type, as `pc-q35-10.0`; a distribution's own name tells nothing.
 * @param version Its version.
 * @param saved How the image's source marked them; the same machine type reads them so.
 */
export function syncOf(machine: string, version: string, saved?: string): SyncMode {
  if (!isAtLeast(version, 8, 1)) return "section";
  if (saved === "round" || saved === "section") return saved;
  const match = /-(\d+\.\d+)$/.exec(machine);
  return match === null || isAtLeast(match[1]!, 8, 1) ? "round" : "section";
}

/** Where zero pages travel: before 9.0 no QEMU looks for them on the channels. */
export function zeroPagesOf(version: string): ZeroPages {
  return isAtLeast(version, 9, 0) ? "multifd" : "legacy";
}

/** Our choice of a method among those that a QEMU has. */
export function preferredMethod(methods: readonly string[]): string {
  return ["zstd", "zlib"].find((method) => methods.includes(method)) ?? "none";
}
