/** From what is seen of a machine to what works there, and to the one thing to do next. */
import { methodByName, methodNames } from "../methods/registry.ts";
import type { CodecFormat } from "../engines/engine.ts";
import { isSimulated } from "../engines/simulated.ts";
import { CODECS, type EngineSpec, IAA, QAT, shimChecks, worksOf } from "./engines.ts";
import { examineIaa } from "./iaa.ts";
import { isMemlockExempt, kernelParameters, permissionCheck, systemCheck } from "./machine.ts";
import { examineQat, type PinnedMemory } from "./qat.ts";
import type {
  Check,
  CodecReport,
  DeviceReport,
  Diagnosis,
  MachineReport,
  MethodReport,
  QatFunction,
  WorkQueue,
  Works,
} from "./report.ts";
import type { Chosen, Probe, System } from "./system.ts";

/** How to diagnose. */
export interface DiagnoseOptions {
  /** What QAT's channels pin; by default 6.1 MB each, for 2 channels. */
  pinned?: PinnedMemory;
  /** Whether the simulated devices are asked for instead of the real ones. */
  simulate?: boolean;
}

/** A decoding channel's buffers, and the library's of the instance it uses: see qatzip.c. */
const PINNED: PinnedMemory = { perChannel: 1_572_928 + 4_489_216, channels: 2 };

/**
 * Diagnoses a machine.
 *
 * @param system The machine.
 * @param options What to assume.
 */
export function diagnose(system: System, options: DiagnoseOptions = {}): Diagnosis {
  const { pinned = PINNED, simulate = false } = options;
  const examine = (look: () => Findings): Findings => {
    const inVain = permissionCheck(system) ?? systemCheck(system);
    const checks = inVain === undefined ? [] : [inVain];
    return simulate || inVain !== undefined ? { checks, queues: [], functions: [] } : look();
  };
  // loads what libqpl loads, for examineIaa() to see
  if (!simulate) system.probe(IAA.name);
  const iaa = examine(() => ({ ...examineIaa(system), functions: [] }));
  const qat = examine(() => ({ ...examineQat(system, pinned), queues: [] }));
  return {
    machine: machineReport(system),
    isSimulation: simulate,
    methods: methodNames().map((method) => methodReport(system, method, simulate)),
    devices: [
      deviceReport(system, IAA, "qpl", simulate, iaa),
      deviceReport(system, QAT, "qatzip", simulate, qat),
    ],
    codecs: CODECS.map((spec) => codecReport(system, spec)),
  };
}

function machineReport(system: System): MachineReport {
  return {
    runtime: system.runtime,
    system: `${system.platform} ${system.architecture}`,
    kernel: system.kernelRelease(),
    kernelParameters: kernelParameters(system).filter((word) => /iommu/.test(word)),
    memlock: system.memlock(),
    isMemlockExempt: isMemlockExempt(system),
    lacks: system.lacks,
  };
}

function methodReport(system: System, method: string, simulate: boolean): MethodReport {
  const hasDevice = method === "qpl" || method === "qatzip";
  const wanted = simulate && hasDevice ? "simulated" : "auto";
  const { encodes, decodes } = system.choose(method, wanted);
  const kinds = [encodes, decodes].filter((chosen) => chosen !== undefined).map(kindOf);
  return {
    method,
    compresses: encodes?.name,
    decompresses: decodes?.name,
    works: methodByName(method)!.format === undefined
      ? undefined
      : kinds.find((kind) => kind !== "software") ?? kinds[0] ?? "no",
  };
}

function kindOf({ name, isDevice }: Chosen): Works {
  if (isSimulated(name)) return "simulated";
  return isDevice ? "hardware" : "software";
}

interface Findings {
  checks: Check[];
  queues: WorkQueue[];
  functions: QatFunction[];
}

function deviceReport(
  system: System,
  spec: EngineSpec,
  method: string,
  simulate: boolean,
  { checks, queues, functions }: Findings,
): DeviceReport {
  const probe = system.probe(simulate ? `${spec.name}-simulated` : spec.name);
  const works = worksOf(spec.kind, probe, system);
  const object = simulate ? `sim/${spec.object}` : spec.object;
  const libraries = works === "unknown" ? [] : shimChecks(system, { ...spec, object }, probe);
  const isWrong = ({ verdict }: Check): boolean => verdict === "wrong";
  const isOpen = works !== "unknown" && !libraries.some(isWrong);
  const engine = isOpen ? [engineCheck(probe, works, checks.some(isWrong))] : [];
  const all = [...checks, ...libraries, ...engine];
  return {
    engine: spec.name,
    title: spec.title,
    method,
    works,
    version: probe.works ? probe.version : undefined,
    file: probe.works ? probe.file : undefined,
    status: probe.works ? undefined : probe.status,
    // what looks wrong where the device works is no more than a fact
    checks: works === "hardware" ? all.map(withoutAlarm) : all,
    queues,
    functions,
    next: probe.works ? undefined : all.find(({ next }) => next !== undefined)?.next,
  };
}

function withoutAlarm({ name, value, verdict }: Check): Check {
  return { name, value, verdict: verdict === "wrong" ? "fact" : verdict };
}

/** What the library itself says of the device: the proof, for or against. */
function engineCheck(probe: Probe, works: Works, isExplained: boolean): Check {
  const name = "engine";
  if (works === "simulated") {
    return { name, value: "works, simulated: this is no accelerator", verdict: "fact" };
  }
  if (probe.works) return { name, value: "works", verdict: "ok" };
  // what the library would advise is not what to do first
  if (isExplained && probe.status !== undefined) {
    return { name, value: `the library answers ${probe.status}`, verdict: "wrong" };
  }
  return {
    name,
    value: probe.why,
    verdict: "wrong",
    next: {
      text:
        `All that can be seen from here is right, and yet: ${probe.why}. The kernel's messages ` +
        "may say more.",
      commands: ["sudo dmesg | tail -n 50"],
    },
  };
}

function codecReport(system: System, spec: EngineSpec): CodecReport {
  const probe = system.probe(spec.name);
  const works = worksOf(spec.kind, probe, system);
  const wrong = shimChecks(system, spec, probe).find(({ verdict }) => verdict === "wrong");
  return {
    engine: spec.name,
    title: spec.title,
    works,
    version: probe.works ? probe.version : undefined,
    file: probe.works ? probe.file : undefined,
    compresses: probe.works ? methodsOf(probe.encodes) : [],
    decompresses: probe.works ? methodsOf(probe.decodes) : [],
    why: works === "no" ? wrong?.value : undefined,
    next: works === "no" ? wrong?.next : undefined,
  };
}

function methodsOf(formats: readonly CodecFormat[]): string[] {
  return methodNames().filter((name) => {
    const { format } = methodByName(name)!;
    return format !== undefined && formats.includes(format);
  });
}
