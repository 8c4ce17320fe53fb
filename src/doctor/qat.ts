/** The QAT: its PCI functions, drivers, service, nodes, and what the user must be allowed. */
import {
  addKernelParameter,
  attribute,
  installCommand,
  isAtLeast,
  isMemlockExempt,
  isRoot,
  pciFunctions,
} from "./machine.ts";
import { groupCheck, groupStep } from "./qat_group.ts";
import {
  configuredServices,
  hasCompression,
  intelDriverChecks,
  oldModelCheck,
  servicesFound,
} from "./qat_services.ts";
import type { Check, NextStep, QatFunction } from "./report.ts";
import type { System } from "./system.ts";

/** What is pinned, for the limit of locked memory. */
export interface PinnedMemory {
  /** Bytes of one channel in one direction. */
  perChannel: number;
  /** Channels to have room for. */
  channels: number;
}

/** A kind of QAT. */
interface Model {
  /** Its name. */
  name: string;
  /** PCI device of its physical function; its virtual functions have the next number. */
  physical: number;
  /** The kernel's module. */
  module: string;
  /** That module's name as a driver. */
  driver: string;
  /** Whether programs use it through Intel's own driver package only. */
  isOld?: boolean;
  /** The first Linux with the driver, where that is a late one. */
  linux?: string;
}

const MODELS: readonly Model[] = [
  { name: "C62x", physical: 0x37c8, module: "qat_c62x", driver: "c6xx", isOld: true },
  { name: "C3xxx", physical: 0x19e2, module: "qat_c3xxx", driver: "c3xxx", isOld: true },
  { name: "200xx", physical: 0x18a0, module: "qat_200xx", driver: "200xx", isOld: true },
  { name: "D15xx", physical: 0x6f54, module: "qat_d15xx", driver: "d15xx", isOld: true },
  { name: "4xxx", physical: 0x4940, module: "qat_4xxx", driver: "4xxx" },
  { name: "401xx", physical: 0x4942, module: "qat_4xxx", driver: "4xxx" },
  { name: "402xx", physical: 0x4944, module: "qat_4xxx", driver: "4xxx" },
  { name: "420xx", physical: 0x4946, module: "qat_420xx", driver: "420xx", linux: "6.8" },
  { name: "6xxx", physical: 0x4948, module: "qat_6xxx", driver: "6xxx", linux: "6.16" },
];

function modelOf(id: string): Model | undefined {
  const match = /^8086:([0-9a-f]{4})$/.exec(id);
  if (match === null) return undefined;
  const device = Number.parseInt(match[1]!, 16);
  return MODELS.find(({ physical }) => device === physical || device === physical + 1);
}

const PCI = "/sys/bus/pci/devices";
/** QATlib pins so much for each virtual function it takes (its INSTALL), one of each device. */
const PINNED_PER_FUNCTION = 16 * 1024 * 1024;
/** What QATlib's INSTALL has people allow, in KiB. */
const MEMLOCK_KIB = 500_000;

/** What was found of QATs. */
export interface QatFindings {
  /** Causes before what follows from them. */
  checks: Check[];
  /** All functions, physical and virtual. */
  functions: QatFunction[];
}

/** Looks for QATs and what they need, up to and without the libraries. */
export function examineQat(system: System, pinned: PinnedMemory): QatFindings {
  const functions = findFunctions(system);
  if (functions.length === 0) return { checks: [noDevice()], functions };
  const device = deviceCheck(functions);
  // the nodes of Intel's own driver package; without it, the kernel's drivers and vfio
  const hasIntelDriver = system.list("/dev")?.includes("qat_adf_ctl") === true;
  if (hasIntelDriver) return { checks: [device, ...intelDriverChecks(system)], functions };
  if (functions.every(({ id }) => modelOf(id)!.isOld)) {
    return { checks: [device, oldModelCheck(functions)], functions };
  }
  openFirst(system, functions);
  const checks = [
    device,
    kernelCheck(system, functions),
    driverCheck(functions),
    iommuCheck(system, functions),
    serviceCheck(system, functions),
    servicesCheck(system, functions),
    groupCheck(system),
    ...nodeChecks(system, functions),
    memlockCheck(system, functions, pinned),
  ].filter((check) => check !== undefined);
  return { checks, functions };
}

function findFunctions(system: System): QatFunction[] {
  return pciFunctions(system, (id) => modelOf(id) !== undefined).map(({ address, id }) => {
    const model = modelOf(id)!;
    const isVirtual = Number.parseInt(id.slice(-4), 16) !== model.physical;
    const driver = system.linkName(`${PCI}/${address}/driver`);
    const group = driver === "vfio-pci"
      ? system.linkName(`${PCI}/${address}/iommu_group`)
      : undefined;
    return {
      address,
      id,
      model: model.name,
      isVirtual,
      driver,
      services: attribute(system, `${PCI}/${address}/qat/cfg_services`),
      node: isVirtual && group !== undefined ? `/dev/vfio/${group}` : undefined,
      access: undefined,
    };
  });
}

/** Tries the nodes until one opens: a node that is open here is closed to the programs that come. */
function openFirst(system: System, functions: readonly QatFunction[]): void {
  for (const found of functions) {
    if (found.node === undefined) continue;
    found.access = system.access(found.node);
    if (found.access === "read-write") return;
  }
}

function noDevice(): Check {
  const ids = MODELS.map(({ physical }) => physical.toString(16)).join(" ");
  return {
    name: "device",
    value: `none: no PCI device 8086 with ${ids}, nor a virtual one`,
    verdict: "wrong",
    next: {
      text:
        "This machine shows no QAT. It is on Intel's C62x chipsets and cards, and in many Xeon " +
        "processors of the 4th generation and later; the firmware's set-up can hide it, and a VM " +
        "has one only if it is given one. See whether the processor is one of those; if not, " +
        "there is nothing to set up.",
      commands: ["lscpu | grep 'Model name'"],
    },
  };
}

function deviceCheck(functions: readonly QatFunction[]): Check {
  const physical = functions.filter(({ isVirtual }) => !isVirtual);
  const parts = physical.map(({ model, address }) => `${model} at ${address}`);
  const virtual = functions.length - physical.length;
  if (virtual > 0) parts.push(`${virtual} virtual function${virtual === 1 ? "" : "s"}`);
  return { name: "device", value: parts.join(", "), verdict: "ok" };
}

/** Linux's driver computes compression from 5.17 on; a distribution may have it in an older one. */
function kernelCheck(system: System, functions: readonly QatFunction[]): Check | undefined {
  const release = system.kernelRelease() ?? "unknown";
  const check = { name: "kernel", value: `${release} (5.17 or later is needed)` };
  const isHost = functions.some(({ isVirtual }) => !isVirtual);
  const isShown = functions.some(({ services }) => services !== undefined);
  if (!isHost || isShown || isAtLeast(release, 5, 17)) return { ...check, verdict: "ok" };
  return {
    ...check,
    verdict: "wrong",
    next: {
      text: `Linux ${release} is too old to compress with a QAT: upgrade to a distribution with ` +
        "Linux 5.17 or later (Debian 13 and Ubuntu 24.04 have it) and restart; then this shows it.",
      commands: ["uname -r"],
    },
  };
}

function driverCheck(functions: readonly QatFunction[]): Check | undefined {
  const physical = functions.filter(({ isVirtual, id }) => !isVirtual && !modelOf(id)!.isOld);
  if (physical.length === 0) return undefined;
  const driven = physical.filter(({ id, driver }) => driver === modelOf(id)!.driver);
  const name = "driver";
  if (driven.length > 0) {
    const value = driven.map(({ address, driver }) => `${address} ${driver}`).join(", ");
    return { name, value, verdict: "ok" };
  }
  const { address, id, driver } = physical[0]!;
  const { module, linux } = modelOf(id)!;
  if (driver !== undefined) {
    return {
      name,
      value: `${address} is ${driver}'s`,
      verdict: "wrong",
      next: {
        text: `The QAT is bound to ${driver} (vfio-pci means: given to a VM): take it back, so ` +
          `that ${module} can have it.`,
        commands: [
          `echo | sudo tee ${PCI}/${address}/driver_override`,
          `echo ${address} | sudo tee ${PCI}/${address}/driver/unbind`,
          `sudo modprobe ${module}`,
          `echo ${address} | sudo tee /sys/bus/pci/drivers_probe`,
        ],
      },
    };
  }
  return {
    name,
    value: `none for ${address}`,
    verdict: "wrong",
    next: {
      text: `Load Linux's driver for it, ${module}` +
        `${
          linux === undefined ? "" : `, which Linux ${linux} and later has`
        }. If it does not stay, ` +
        "dmesg says why; mostly its firmware is missing, which the package linux-firmware has.",
      commands: [`sudo modprobe ${module}`, "sudo dmesg | grep -i qat"],
    },
  };
}

/** Without an IOMMU there are neither virtual functions nor vfio groups. */
function iommuCheck(system: System, functions: readonly QatFunction[]): Check | undefined {
  if (functions.some(({ node }) => node !== undefined)) return undefined;
  const name = "iommu";
  const units = system.list("/sys/class/iommu") ?? [];
  if (units.length > 0) return { name, value: "on", verdict: "ok" };
  return {
    name,
    value: "off",
    verdict: "wrong",
    next: {
      text: "Start Linux with intel_iommu=on (and VT-d and SR-IOV on in the firmware's set-up): " +
        "programs use a QAT's virtual functions, and those need the IOMMU.",
      commands: addKernelParameter(system, "intel_iommu=on"),
    },
  };
}

const UNIT_DIRECTORIES = ["/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system"];

function findUnit(system: System): string | undefined {
  return UNIT_DIRECTORIES.map((directory) => system.readText(`${directory}/qat.service`))
    .find((text) => text !== undefined);
}

/** qat.service makes the virtual functions, gives them to vfio, and runs qatmgr. */
function serviceCheck(system: System, functions: readonly QatFunction[]): Check {
  const name = "service";
  // systemd keeps its directory in /run exactly while the service is active
  if (system.list("/run")?.includes("qat")) {
    return { name, value: "qat.service runs", verdict: "ok" };
  }
  if (findUnit(system) !== undefined) {
    return {
      name,
      value: "qat.service is stopped",
      verdict: "wrong",
      next: {
        text: "Start QAT's service: it makes the virtual functions that programs use.",
        commands: ["sudo systemctl enable --now qat"],
      },
    };
  }
  // a container has the nodes and no service: QATlib then does without
  const hasNodes = functions.some(({ node }) => node !== undefined);
  if (hasNodes) return { name, value: "qat.service is not installed", verdict: "fact" };
  return {
    name,
    value: "qat.service is not installed",
    verdict: "wrong",
    next: {
      text: "Install QATlib's service, which makes the virtual functions that programs use, and " +
        "start it (Debian 13, Ubuntu 24.04, Fedora and later have the package).",
      commands: [installCommand(system, "qatlib-service"), "sudo systemctl enable --now qat"],
    },
  };
}

function servicesCheck(system: System, functions: readonly QatFunction[]): Check {
  const physical = functions.filter(({ services }) => services !== undefined);
  const shown = physical.find(({ services }) => hasCompression(services!)) ?? physical[0];
  const file = /^EnvironmentFile=-?(.+)$/m.exec(findUnit(system) ?? "")?.[1] ??
    "/etc/sysconfig/qat";
  const wanted = /^ServicesEnabled=(.*)$/m.exec(system.readText(file) ?? "")?.[1];
  const next: NextStep = {
    text: "Let the QAT compress: configure it for dc, data compression, and restart its service.",
    commands: [
      wanted === undefined
        ? `echo ServicesEnabled=dc | sudo tee -a ${file}`
        : `sudo sed -i 's/^ServicesEnabled=.*/ServicesEnabled=dc/' ${file}`,
      "sudo systemctl restart qat",
    ],
  };
  if (shown !== undefined) return servicesFound(shown.services!, shown.address, next);
  if (wanted !== undefined) return servicesFound(wanted, `ServicesEnabled in ${file}`, next);
  const config = configuredServices(system);
  if (config !== undefined) {
    return servicesFound(config.services, `ServicesEnabled in ${config.file}`, next);
  }
  return { name: "services", value: "not shown by this kernel", verdict: "unknown" };
}

function nodeChecks(system: System, functions: readonly QatFunction[]): Check[] {
  const name = "device-nodes";
  const nodes = functions.filter(({ node }) => node !== undefined);
  if (nodes.length === 0) {
    return [{
      name,
      value: "no virtual function is vfio-pci's, so there is no /dev/vfio/NUMBER",
      verdict: "wrong",
      next: {
        text: "Restart QAT's service: it makes the virtual functions and gives them to vfio-pci.",
        commands: ["sudo systemctl restart qat", "journalctl -u qat"],
      },
    }];
  }
  const container = system.access("/dev/vfio/vfio");
  const tried = nodes.filter(({ access }) => access !== undefined);
  const value = [
    `/dev/vfio/vfio ${container}`,
    ...tried.slice(0, 3).map(({ node, access }) => `${node} ${access}`),
    ...(tried.length > 3 ? [`and ${tried.length - 3} more`] : []),
  ].join(", ");
  const isOpen = (access: string | undefined): boolean =>
    access === "read-write" || access === "busy";
  if (isOpen(container) && tried.some(({ access }) => isOpen(access))) {
    return [{ name, value, verdict: "ok" }];
  }
  const isMissing = container === "missing" || tried.every(({ access }) => access === "missing");
  const next = isMissing || isRoot(system)
    ? {
      text: "The virtual functions are there and their nodes are not for this process, as in a " +
        "container: pass /dev/vfio into it.",
      commands: ["docker run --device /dev/vfio ..."],
    }
    : groupStep(system);
  return [{ name, value, verdict: "wrong", next }];
}

/** vfio counts what it pins against the limit of locked memory. */
function memlockCheck(
  system: System,
  functions: readonly QatFunction[],
  { perChannel, channels }: PinnedMemory,
): Check | undefined {
  const limit = system.memlock();
  if (limit === undefined) return undefined;
  const physical = functions.filter(({ isVirtual }) => !isVirtual).length;
  const library = PINNED_PER_FUNCTION * Math.max(physical, 1);
  const needed = library + perChannel * channels;
  const mib = (bytes: number): string => `${Math.round(bytes / 2 ** 20 * 10) / 10} MiB`;
  const needs = `${mib(needed)} are needed for ${channels} channels: ` +
    `${mib(library)} by QATlib, ${mib(perChannel)} by each`;
  const name = "memlock";
  if (isMemlockExempt(system)) {
    return { name, value: "no limit for this process (CAP_IPC_LOCK)", verdict: "ok" };
  }
  if (limit === Infinity) return { name, value: "no limit", verdict: "ok" };
  const value = `${mib(limit)}; ${needs}`;
  if (limit >= needed) return { name, value, verdict: "ok" };
  return {
    name,
    value,
    verdict: "wrong",
    next: {
      text:
        `Let your user lock more memory than ${mib(limit)}, as QAT's buffers must be; then log ` +
        "out and in again (for a systemd service: LimitMEMLOCK=).",
      commands: [`echo "$USER - memlock ${MEMLOCK_KIB}" | sudo tee -a /etc/security/limits.conf`],
    },
  };
}
