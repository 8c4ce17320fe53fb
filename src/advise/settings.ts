/** A plan as what to paste: QMP, virsh, multifd. */
import type { SenderProgram } from "./candidates.ts";
import type { Plan } from "./recommend.ts";

/** What to paste, and where it cannot be said. */
export interface Settings {
  /** QMP commands, for the monitors of both QEMUs, before `migrate` and `migrate-incoming`. */
  qmp: object[];
  /** A virsh command; undefined where virsh has no words for it. */
  virsh: string | undefined;
  /** What virsh cannot say, or needs. */
  virshNote: string;
  /** The commands of multifd at both ends; undefined for a QEMU's own migration. */
  multifd: string[] | undefined;
}

/** The methods whose level QEMU takes. */
const WITH_LEVEL: readonly string[] = ["zlib", "zstd", "qatzip"];
/** The methods that libvirt has names for. */
const LIBVIRT: readonly string[] = ["none", "zlib", "zstd"];

/** Puts a plan into the words of those who carry it out. */
export function settingsOf({ candidate, channels }: Plan, sender: SenderProgram): Settings {
  const { method, level, engine, dense } = candidate;
  const parameters: Record<string, unknown> = {
    "multifd-channels": channels,
    "multifd-compression": method,
  };
  if (WITH_LEVEL.includes(method)) parameters[`multifd-${method}-level`] = level;
  // QEMU's own limit is 128 MiB/s
  parameters["max-bandwidth"] = 0;
  const capabilities = [{ capability: "multifd", state: true }];
  const isKnown = LIBVIRT.includes(method);
  const compression = method === "none"
    ? ""
    : ` --compressed --comp-methods ${method} --comp-${method}-level ${level}`;
  const send = [
    "multifd send IMAGE --to HOST:4444",
    `--method ${method}`,
    ...(WITH_LEVEL.includes(method) ? [`--level ${level}`] : []),
    `--channels ${channels}`,
    ...(engine === "none" ? [] : [`--engine ${engine}`]),
    ...(dense ? ["--dense"] : []),
  ].join(" ");
  return {
    qmp: [
      { execute: "migrate-set-capabilities", arguments: { capabilities } },
      { execute: "migrate-set-parameters", arguments: parameters },
    ],
    virsh: isKnown
      ? `virsh migrate --live GUEST DESTINATION --parallel --parallel-connections ${channels}` +
        compression
      : undefined,
    virshNote: isKnown
      ? method === "none" ? "" : "libvirt 9.4.0 and newer"
      : `virsh has no word for ${method}: libvirt compresses with zlib or zstd only`,
    multifd: sender === "qemu" ? undefined : [
      `multifd recv --listen 0.0.0.0:4444 --out DIRECTORY --method ${method} --channels ${channels}`,
      send,
    ],
  };
}
