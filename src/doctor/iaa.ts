/** The IAA: its devices, work queues, nodes, and what the kernel must have for it. */
import {
  addKernelParameter,
  attribute,
  findFetchedLibrary,
  findLoadedLibrary,
  findSystemLibrary,
  hasCommand,
  installCommand,
  iommuOptions,
  isAtLeast,
  isRoot,
  numberAttribute,
  pciFunctions,
} from "./machine.ts";
import type { Check, NextStep, WorkQueue } from "./report.ts";
import type { System } from "./system.ts";

/** PCI devices that the kernel's idxd driver takes for an IAA. */
const PCI_IDS: readonly string[] = ["8086:0cfe", "8086:1216", "8086:b02d", "8086:fd2d"];
const DEVICES = "/sys/bus/dsa/devices";
/** From this version on it is an IAA of the second generation. */
const SECOND_GENERATION = 0x200;
/** Entries of an IAA's queues, all together, where the kernel does not tell. */
const QUEUE_ENTRIES = 128;

/** An IAA as the kernel shows it. */
interface Iaa {
  name: string;
  state: string;
  version: number;
  pasidEnabled: string | undefined;
  queues: WorkQueue[];
}

/** What was found of IAAs. */
export interface IaaFindings {
  /** Causes before what follows from them. */
  checks: Check[];
  /** The queues of all devices. */
  queues: WorkQueue[];
}

/** Looks for IAAs and what they need, up to and without the libraries. */
export function examineIaa(system: System): IaaFindings {
  const pci = pciFunctions(system, (id) => PCI_IDS.includes(id)).map(({ address }) => address);
  const devices = findDevices(system);
  const queues = devices.flatMap(({ queues }) => queues);
  if (pci.length === 0 && devices.length === 0) {
    return { checks: [noDevice(), kernelCheck(system, devices, false)], queues };
  }
  const checks = [
    deviceCheck(devices, pci),
    kernelCheck(system, devices, true),
    driverCheck(system, devices),
    sharedMemoryCheck(system, devices),
    ...(devices.length === 0 ? [] : queueChecks(system, devices)),
    configLibraryCheck(system),
  ];
  return { checks, queues };
}

function findDevices(system: System): Iaa[] {
  const names = (system.list(DEVICES) ?? []).filter((name) => /^iax\d+$/.test(name)).sort();
  return names.map((name) => {
    const at = (file: string): string => `${DEVICES}/${name}/${file}`;
    return {
      name,
      state: attribute(system, at("state")) ?? "unknown",
      version: numberAttribute(system, at("version")) ?? 0,
      pasidEnabled: attribute(system, at("pasid_enabled")),
      queues: (system.list(`${DEVICES}/${name}`) ?? [])
        .filter((entry) => /^wq\d+\.\d+$/.test(entry)).sort()
        .map((entry) => readQueue(system, name, entry)),
    };
  });
}

function readQueue(system: System, device: string, name: string): WorkQueue {
  const at = (file: string): string => `${DEVICES}/${device}/${name}/${file}`;
  const node = `/dev/iax/${name}`;
  const state = attribute(system, at("state")) ?? "unknown";
  return {
    device,
    name,
    state,
    type: attribute(system, at("type")) ?? "unknown",
    mode: attribute(system, at("mode")) ?? "unknown",
    groupId: numberAttribute(system, at("group_id")),
    size: numberAttribute(system, at("size")),
    maxTransferSize: numberAttribute(system, at("max_transfer_size")),
    cdevMinor: numberAttribute(system, at("cdev_minor")),
    numaNode: numberAttribute(system, `${DEVICES}/${device}/numa_node`),
    node,
    access: state === "enabled" ? system.access(node) : undefined,
  };
}

function noDevice(): Check {
  return {
    name: "device",
    value: "none: no PCI device 8086:0cfe, nothing in /sys/bus/dsa/devices",
    verdict: "wrong",
    next: {
      text:
        "This machine shows no IAA. Intel Xeon processors of the 4th generation and later can " +
        "have one; the firmware's set-up can hide it, and a VM has one only if it is given one. " +
        "See whether the processor is one of those; if not, there is nothing to set up.",
      commands: ["lscpu | grep 'Model name'"],
    },
  };
}

function deviceCheck(devices: readonly Iaa[], pci: readonly string[]): Check {
  const shown = devices.length > 0
    ? devices.map(({ name, state }) => `${name} (${state})`)
    : pci.map((address) => `PCI ${address}`);
  return { name: "device", value: shown.join(", "), verdict: "ok" };
}

function kernelCheck(system: System, devices: readonly Iaa[], isNeeded: boolean): Check {
  const release = system.kernelRelease() ?? "unknown";
  const isSecond = devices.some(({ version }) => version >= SECOND_GENERATION);
  const [major, minor] = isSecond ? [6, 3] : [5, 18];
  const least = `${major}.${minor}`;
  const check = { name: "kernel", value: `${release} (${least} or later is needed)` };
  if (isAtLeast(release, major, minor)) return { ...check, verdict: "ok" };
  if (!isNeeded) return { ...check, verdict: "fact" };
  return {
    ...check,
    verdict: "wrong",
    next: {
      text: `Linux ${release} is too old for libqpl: upgrade to a distribution with Linux ` +
        `${least} or later (Debian 13 and Ubuntu 24.04 have it) and restart; then this shows it.`,
      commands: ["uname -r"],
    },
  };
}

function driverCheck(system: System, devices: readonly Iaa[]): Check {
  if (devices.length > 0) return { name: "driver", value: "idxd", verdict: "ok" };
  const isLoaded = system.list("/sys/module")?.includes("idxd") === true;
  return {
    name: "driver",
    value: isLoaded ? "idxd is loaded, but shows no device" : "idxd is not loaded",
    verdict: "wrong",
    next: isLoaded
      ? {
        text: "The kernel's driver does not take the device: its messages say why (often VT-d is " +
          "off in the firmware's set-up).",
        commands: ["sudo dmesg | grep -i -e idxd -e DMAR"],
      }
      : { text: "Load the kernel's driver for IAA, idxd.", commands: ["sudo modprobe idxd"] },
  };
}

/** Jobs name memory by the process's own addresses: the IOMMU must know them (PASID). */
function sharedMemoryCheck(system: System, devices: readonly Iaa[]): Check {
  const options = iommuOptions(system);
  const isAsked = ["on", "sm_on"].every((option) => options.includes(option));
  const name = "kernel-parameters";
  const value = isAsked
    ? "intel_iommu=on,sm_on"
    : `intel_iommu=on,sm_on is missing${options.length > 0 ? ` (it is ${options.join(",")})` : ""}`;
  // a kernel may be built with both on: what it made of it counts
  if (devices.some(({ pasidEnabled }) => pasidEnabled === "1")) {
    return { name, value: `${value}; pasid_enabled is 1`, verdict: "ok" };
  }
  if (!isAsked) {
    return {
      name,
      value,
      verdict: "wrong",
      next: {
        text:
          "Start Linux with intel_iommu=on,sm_on: IAA works on a program's own addresses, and " +
          "only the IOMMU in scalable mode lets it.",
        commands: addKernelParameter(system, "intel_iommu=on,sm_on"),
      },
    };
  }
  if (!devices.some(({ pasidEnabled }) => pasidEnabled === "0")) {
    return { name, value, verdict: "ok" };
  }
  return {
    name,
    value: `${value}; but pasid_enabled is 0`,
    verdict: "wrong",
    next: {
      text: "The IOMMU does not let IAA work on a program's own addresses though Linux was asked " +
        "to: switch VT-d on in the firmware's set-up (BIOS) and restart; then this shows 1.",
      commands: [`cat ${DEVICES}/iax*/pasid_enabled`],
    },
  };
}

function whyUnusable({ name, state, type, mode }: WorkQueue): string | undefined {
  if (state !== "enabled") return `${name} is ${state}`;
  if (type !== "user") return `${name} is of type ${type}`;
  if (mode !== "shared") return `${name} is ${mode}`;
  return undefined;
}

function queueChecks(system: System, devices: readonly Iaa[]): Check[] {
  const queues = devices.flatMap(({ queues }) => queues);
  const usable = queues.filter((queue) => whyUnusable(queue) === undefined);
  if (usable.length === 0) {
    const reasons = queues.map((queue) => whyUnusable(queue)!);
    return [{
      name: "work-queues",
      value: reasons.length === 0 ? "none" : `none that is usable: ${summarize(reasons)}`,
      verdict: "wrong",
      next: queueStep(system, devices, queues),
    }];
  }
  const found: Check = {
    name: "work-queues",
    value: `${usable.map(({ name }) => name).join(", ")}: enabled, user, shared`,
    verdict: "ok",
  };
  return [found, nodeCheck(system, usable)];
}

/** An IAA has eight queues, mostly in the same state. */
function summarize(reasons: readonly string[]): string {
  const shown = reasons.slice(0, 4).join(", ");
  return reasons.length > 4 ? `${shown} and ${reasons.length - 4} more` : shown;
}

function queueStep(
  system: System,
  devices: readonly Iaa[],
  queues: readonly WorkQueue[],
): NextStep {
  const enabled = queues.find(({ state }) => state === "enabled");
  const commands = setUpCommands(system, devices);
  if (enabled === undefined) {
    return {
      text: "Set up a work queue: every restart leaves IAA without one, and libqpl submits to " +
        "enabled queues of type user in shared mode only.",
      commands,
    };
  }
  const isKernels = enabled.type !== "user";
  const what = isKernels
    ? `${enabled.name} belongs to type ${enabled.type}, not to programs`
    : `${enabled.name} is in ${enabled.mode} mode, for one program alone`;
  return {
    text: `Set up a queue of type user in shared mode: ${what}, and libqpl takes shared ones ` +
      "only. This stops whatever uses the device now.",
    commands,
  };
}

/** As in QEMU's docs/devel/migration/qpl-compression.rst: every engine, one queue for all. */
function setUpCommands(system: System, devices: readonly Iaa[]): string[] {
  const device = devices.find(({ state }) => state !== "enabled") ?? devices[0]!;
  const { name, state, queues } = device;
  const queue = `${name}/${queues[0]?.name ?? `wq${name.slice("iax".length)}.0`}`;
  const path = `${DEVICES}/${name}`;
  const size = numberAttribute(system, `${path}/max_work_queues_size`) ?? QUEUE_ENTRIES;
  // Linux 6.7 and later wants to be told who drives the queue
  const driver = system.list(`${DEVICES}/${queue}`)?.includes("driver_name") ? " -d user" : "";
  const tool = hasCommand(system, "accel-config")
    ? []
    : [installCommand(system, "accel-config", "accel-config")];
  return [
    ...tool,
    ...(state === "enabled" ? [`sudo accel-config disable-device ${name}`] : []),
    `for e in ${path}/engine*; do sudo accel-config config-engine ${name}/\${e##*/} -g 0; done`,
    `sudo accel-config config-wq ${queue} -g 0 -s ${size} -p 10 -b 1 -t ${size} -m shared ` +
    `-y user -n multifd${driver}`,
    `sudo accel-config enable-device ${name}`,
    `sudo accel-config enable-wq ${queue}`,
  ];
}

function nodeCheck(system: System, queues: readonly WorkQueue[]): Check {
  const name = "device-nodes";
  const value = queues.map(({ node, access }) => `${node} ${access}`).join(", ");
  const isOpen = queues.some(({ access }) => access === "read-write" || access === "busy");
  if (isOpen) return { name, value, verdict: "ok" };
  const { node, access } = queues[0]!;
  return { name, value, verdict: "wrong", next: nodeStep(system, node, access === "missing") };
}

function nodeStep(system: System, node: string, isMissing: boolean): NextStep {
  if (isMissing || isRoot(system)) {
    return {
      text: `The queue is there and its node ${node} is not for this process, as in a container: ` +
        "pass /dev/iax into it.",
      commands: ["docker run --device /dev/iax ..."],
    };
  }
  return {
    text: `Give your user the queue's node ${node}: it is root's, and again after a restart.`,
    commands: [`sudo chown "$USER" ${node}`],
  };
}

/** libqpl finds the queues through it, and loads it by this name. */
function configLibraryCheck(system: System): Check {
  const name = "libaccel-config";
  const library = "libaccel-config.so.1";
  const file = findLoadedLibrary(system, library) ?? findSystemLibrary(system, library) ??
    findFetchedLibrary(system, library);
  if (file !== undefined) return { name, value: file, verdict: "ok" };
  return {
    name,
    value: `${library} is missing`,
    verdict: "wrong",
    next: {
      text: "Install libaccel-config, through which libqpl finds the work queues.",
      commands: [installCommand(system, "libaccel-config1", "accel-config-libs")],
    },
  };
}
