/** Facts of a Linux machine that more than one device hangs on. */
import type { Check, NextStep } from "./report.ts";
import type { System } from "./system.ts";

/** CAP_IPC_LOCK's bit: who has it locks as much memory as there is. */
const CAP_IPC_LOCK = 14n;

/**
 * The soft limit of locked memory in `/proc/self/limits`.
 *
 * @returns Bytes, `Infinity` for no limit; undefined where it is not in the text.
 */
export function parseMemlock(limits: string): number | undefined {
  const soft = /^Max locked memory\s+(\S+)/m.exec(limits)?.[1];
  if (soft === undefined) return undefined;
  return soft === "unlimited" ? Infinity : Number(soft);
}

/** Whether the limit of locked memory does not bind this process. */
export function isMemlockExempt(system: System): boolean {
  const status = system.readText("/proc/self/status");
  const effective = /^CapEff:\s*([0-9a-f]+)/m.exec(status ?? "")?.[1];
  return effective !== undefined && (BigInt(`0x${effective}`) >> CAP_IPC_LOCK & 1n) === 1n;
}

/** Whether this is root's process. */
export function isRoot(system: System): boolean {
  return /^Uid:\s+\d+\s+0\b/m.test(system.readText("/proc/self/status") ?? "");
}

/**
 * Whether a kernel's release is at least a version.
 *
 * @param release E.g. `6.1.0-30-amd64`.
 * @param major Its first number.
 * @param minor Its second.
 */
export function isAtLeast(release: string, major: number, minor: number): boolean {
  const match = /^(\d+)\.(\d+)/.exec(release);
  if (match === null) return false;
  const [, first, second] = match.map(Number) as [number, number, number];
  return first > major || first === major && second >= minor;
}

/** The kernel's command line, taken apart. */
export function kernelParameters(system: System): string[] {
  return (system.readText("/proc/cmdline") ?? "").split(/\s+/).filter((word) => word !== "");
}

/** What the last `intel_iommu=` asks for, e.g. `on` and `sm_on`. */
export function iommuOptions(system: System): string[] {
  const last = kernelParameters(system).findLast((word) => word.startsWith("intel_iommu="));
  return last === undefined ? [] : last.slice("intel_iommu=".length).split(",");
}

/** A file of sysfs, without its end of line; undefined where there is none. */
export function attribute(system: System, path: string): string | undefined {
  return system.readText(path)?.trim();
}

/** A number in a file of sysfs; undefined where there is none. */
export function numberAttribute(system: System, path: string): number | undefined {
  const text = attribute(system, path);
  return text === undefined || text === "" || Number.isNaN(Number(text)) ? undefined : Number(text);
}

/** A PCI function. */
export interface PciFunction {
  /** E.g. `0000:6b:00.0`. */
  address: string;
  /** Vendor and device, e.g. `8086:4940`. */
  id: string;
}

/** The PCI functions of some kinds, by address. */
export function pciFunctions(system: System, isWanted: (id: string) => boolean): PciFunction[] {
  const root = "/sys/bus/pci/devices";
  const idOf = (address: string): string =>
    ["vendor", "device"]
      .map((name) => attribute(system, `${root}/${address}/${name}`)?.replace(/^0x/, "") ?? "?")
      .join(":");
  return [...system.list(root) ?? []].sort()
    .map((address) => ({ address, id: idOf(address) }))
    .filter(({ id }) => isWanted(id));
}

/** Where the loader looks for libraries. */
function libraryDirectories(system: System): string[] {
  const extra = (system.list("/etc/ld.so.conf.d") ?? []).filter((name) => name.endsWith(".conf"));
  const configured = extra.flatMap((name) =>
    (system.readText(`/etc/ld.so.conf.d/${name}`) ?? "").split("\n")
      .map((line) => line.trim()).filter((line) => line.startsWith("/"))
  );
  return [
    ...system.libraryPath,
    ...configured,
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib64",
    "/usr/local/lib",
  ];
}

/**
 * A library's file, where the loader looks for it.
 *
 * @param system The machine.
 * @param name Its name, e.g. `libaccel-config.so.1`.
 * @returns Undefined where there is none.
 */
export function findSystemLibrary(system: System, name: string): string | undefined {
  const directory = libraryDirectories(system)
    .find((directory) => system.list(directory)?.includes(name));
  return directory === undefined ? undefined : `${directory}/${name}`;
}

/** A library that this process has loaded; undefined where it has not. */
export function findLoadedLibrary(system: System, name: string): string | undefined {
  const maps = (system.readText("/proc/self/maps") ?? "").split("\n");
  const line = maps.find((line) => line.endsWith(`/${name}`));
  return line?.slice(line.indexOf("/"));
}

/** A library that was fetched for the shim; undefined where it was not. */
export function findFetchedLibrary(system: System, name: string): string | undefined {
  const directory = system.shimDirectories
    .map((directory) => `${directory.slice(0, directory.lastIndexOf("/"))}/vendor/lib`)
    .find((directory) => system.list(directory)?.includes(name));
  return directory === undefined ? undefined : `${directory}/${name}`;
}

/** The shim's shared object; undefined where it is not built. */
export function findShim(system: System, name: string): string | undefined {
  const slash = name.lastIndexOf("/") + 1;
  const [folder, file] = [name.slice(0, slash), `${name.slice(slash)}.so`];
  const directory = system.shimDirectories
    .find((directory) => system.list(`${directory}/${folder}`.replace(/\/$/, ""))?.includes(file));
  return directory === undefined ? undefined : `${directory}/${folder}${file}`;
}

/** Whether a command is installed. */
export function hasCommand(system: System, name: string): boolean {
  return ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/local/sbin"]
    .some((directory) => system.list(directory)?.includes(name));
}

/**
 * The command that installs a package.
 *
 * @param system The machine.
 * @param debian Its name in Debian and Ubuntu.
 * @param fedora Its name in Fedora and its relatives.
 */
export function installCommand(system: System, debian: string, fedora = debian): string {
  if (hasCommand(system, "apt-get")) return `sudo apt-get install ${debian}`;
  if (hasCommand(system, "dnf")) return `sudo dnf install ${fedora}`;
  if (hasCommand(system, "zypper")) return `sudo zypper install ${debian}`;
  return `sudo apt-get install ${debian}`;
}

/** The commands that add a parameter to the kernel's command line. */
export function addKernelParameter(system: System, parameter: string): string[] {
  const isGrubby = !hasCommand(system, "update-grub") && hasCommand(system, "grubby");
  const add = isGrubby ? [`sudo grubby --update-kernel=ALL --args=${parameter}`] : [
    `sudo sed -i 's/^GRUB_CMDLINE_LINUX="/&${parameter} /' /etc/default/grub`,
    "sudo update-grub",
  ];
  return [...add, "sudo reboot"];
}

/** Where no device can be: another system than Linux. */
export function systemCheck(system: System): Check | undefined {
  if (system.platform === "linux") return undefined;
  return {
    name: "system",
    value: system.platform,
    verdict: "wrong",
    next: { text: "Only Linux has drivers for it: run this on Linux.", commands: [] },
  };
}

/** Where Deno allows no look at the machine. */
export function permissionCheck(system: System): Check | undefined {
  if (system.lacks.length === 0) return undefined;
  return {
    name: "permissions",
    value: "Deno does not allow to look at /dev, /proc and /sys",
    verdict: "unknown",
    next: allowEverything(system),
  };
}

/** What to do where Deno allows no look. */
export function allowEverything(system: System): NextStep {
  return {
    text: "Deno opens /dev, /proc and /sys only for a program that may do everything: run doctor " +
      "with -A.",
    commands: [system.doctorCommand],
  };
}
