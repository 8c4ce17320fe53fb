/** Machines made up: a machine is what its files, links and nodes say. */
import path from "node:path";
import { diagnose, type DiagnoseOptions } from "../../src/doctor/diagnose.ts";
import { parseMemlock } from "../../src/doctor/machine.ts";
import type { Access, Choice, Probe, System } from "../../src/doctor/system.ts";
import { diagnosisText } from "../../src/cli/doctor_text.ts";

/** What a machine has. */
export interface Made extends Partial<Omit<System, "probe" | "choose">> {
  /** Text files by path. */
  files?: Record<string, string>;
  /** Symbolic links by path: the last part of where they lead. */
  links?: Record<string, string>;
  /** Device nodes by path: what opening them gives. */
  nodes?: Record<string, Access>;
  /** Engines by name: an engine, or why there is none. */
  engines?: Record<string, Probe>;
  /** What is chosen for methods, where it is not software. */
  choices?: Record<string, Choice>;
  /** The kernel's release. */
  kernel?: string;
}

/** The shim's directory of made-up machines. */
export const SHIM = "/opt/multifd";

const SOFTWARE = { name: "isal", isDevice: false };

/** An engine that can be used. */
export function works(name: string, version: string, object: string): Probe {
  const file = `${SHIM}/${object}.so`;
  return { works: true, name, version, file, encodes: [], decodes: [] };
}

/** An engine that cannot. */
export function fails(why: string, status?: string): Probe {
  return { works: false, why, status };
}

/** A user's process on a Debian with the shim's compiler, and whatever else there is. */
export function machine(made: Made = {}): System {
  const { links = {}, nodes = {}, engines = {}, choices = {}, kernel = "6.12.1-amd64" } = made;
  const files: Record<string, string> = {
    "/proc/cmdline": "quiet intel_iommu=on,sm_on\n",
    "/proc/self/limits": "Max locked memory         524288000            524288000      bytes\n",
    "/proc/self/status":
      "Uid:\t1000\t1000\t1000\t1000\nGroups:\t27 100\nCapEff:\t0000000000000000\n",
    "/etc/passwd": "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n",
    "/etc/group": "root:x:0:\nusers:x:100:alice\n",
    "/usr/bin/apt-get": "",
    "/usr/bin/gcc": "",
    "/usr/bin/make": "",
    "/usr/sbin/update-grub": "",
    ...made.files,
  };
  const all = [...Object.keys(files), ...Object.keys(links), ...Object.keys(nodes)];
  const list = (directory: string): string[] | undefined => {
    const inside = all.filter((file) => file.startsWith(`${directory}/`))
      .map((file) => file.slice(directory.length + 1).split("/")[0]!);
    return inside.length === 0 ? undefined : [...new Set(inside)];
  };
  return {
    runtime: "Deno 2.9.6",
    platform: "linux",
    architecture: "x64",
    lacks: [],
    doctorCommand: "deno run -A cli/main.ts doctor",
    buildCommand: "deno task build:native",
    fetchCommand: "deno task fetch:accelerators",
    shimDirectories: [SHIM],
    libraryPath: [],
    kernelRelease: () => kernel,
    memlock: () => parseMemlock(files["/proc/self/limits"]!),
    readText: (file) => files[file],
    list,
    linkName: (link) => links[link] === undefined ? undefined : path.basename(links[link]),
    access: (node) => nodes[node] ?? "missing",
    probe: (name) => engines[name] ?? fails(`Cannot find ${name}.so`),
    choose: (method) =>
      choices[method] ??
        (method === "none"
          ? { encodes: undefined, decodes: undefined }
          : { encodes: SOFTWARE, decodes: SOFTWARE }),
    ...made,
  };
}

/** A section of the text, its lines joined; the commands each behind a `$`. */
export function section(system: System, engine: string, options?: DiagnoseOptions): string {
  const sections = diagnosisText(diagnose(system, options)).split("\n\n");
  const text = sections.find((section) => section.startsWith(`${engine}:`))!;
  return text.replace(/\n {10}(?=\S)/g, "\n $ ").replace(/\s+/g, " ");
}
