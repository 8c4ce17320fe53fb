/** What QATs are configured for, and Intel's own driver package, which has its own configuration. */
import { groupStep } from "./qat_group.ts";
import type { Check, NextStep, QatFunction } from "./report.ts";
import type { System } from "./system.ts";

/** QATlib and its service take none of them, and the kernel bars them from vfio. */
export function oldModelCheck(functions: readonly QatFunction[]): Check {
  const driver = functions.find(({ driver }) => driver !== undefined)?.driver;
  const { model } = functions[0]!;
  return {
    name: "driver",
    value: driver === undefined ? "none" : `${driver}, and no /dev/qat_adf_ctl`,
    verdict: "wrong",
    next: {
      text: `A ${model} is used through Intel's own driver package (hardware version 1.x), which ` +
        "makes /dev/qat_adf_ctl and /dev/usdm_drv; Linux's driver serves the kernel alone. Install it " +
        "by Intel's guide, https://intel.github.io/quickassist, and see that it runs.",
      commands: ["sudo adf_ctl status"],
    },
  };
}

/** What Intel's driver package has, and what this process may use of it. */
export function intelDriverChecks(system: System): Check[] {
  const checks: Check[] = [
    { name: "driver", value: "Intel's driver package (/dev/qat_adf_ctl)", verdict: "ok" },
  ];
  const config = configuredServices(system);
  if (config !== undefined) {
    checks.push(servicesFound(config.services, `ServicesEnabled in ${config.file}`, {
      text: "Let the QAT compress: put dc, data compression, into ServicesEnabled, and restart it.",
      commands: [
        `sudo sed -i 's/^ServicesEnabled *=.*/ServicesEnabled = dc/' ${config.file}`,
        "sudo adf_ctl restart",
      ],
    }));
  }
  const nodes = ["/dev/qat_adf_ctl", "/dev/usdm_drv"];
  const accesses = nodes.map((node) => ({ node, access: system.access(node) }));
  const value = accesses.map(({ node, access }) => `${node} ${access}`).join(", ");
  const name = "device-nodes";
  const isMissing = accesses.some(({ access }) => access === "missing");
  const isDenied = accesses.some(({ access }) => access === "denied");
  if (isMissing) {
    checks.push({
      name,
      value,
      verdict: "wrong",
      next: {
        text: "Load usdm_drv, the driver of QAT's memory.",
        commands: ["sudo modprobe usdm_drv"],
      },
    });
  } else if (isDenied) checks.push({ name, value, verdict: "wrong", next: groupStep(system) });
  else checks.push({ name, value, verdict: "ok" });
  return checks;
}

/** ServicesEnabled of Intel's driver package. */
export function configuredServices(system: System): { services: string; file: string } | undefined {
  const names = (system.list("/etc") ?? [])
    .filter((name) => /^(4xxx|401xx|402xx|420xx|c6xx|c3xxx|200xx|d15xx)_dev\d+\.conf$/.test(name))
    .sort();
  const found = names.map((name) => {
    const file = `/etc/${name}`;
    const services = /^\s*ServicesEnabled\s*=\s*(.+?)\s*$/m.exec(system.readText(file) ?? "")?.[1];
    return { services, file };
  }).filter((config): config is { services: string; file: string } =>
    config.services !== undefined
  );
  return found.find(({ services }) => hasCompression(services)) ?? found[0];
}

/** Whether services have compression among them. */
export function hasCompression(services: string): boolean {
  return services.split(/[;,\s]+/).some((service) => service === "dc" || service === "dcc");
}

/** Whether a QAT is configured to compress; what to do where not. */
export function servicesFound(services: string, where: string, next: NextStep): Check {
  const value = `${services} (${where})`;
  if (hasCompression(services)) return { name: "services", value, verdict: "ok" };
  return { name: "services", value: `${value}: no dc`, verdict: "wrong", next };
}
