import { diagnose } from "../doctor/diagnose.ts";
import type {
  CodecReport,
  DeviceReport,
  Diagnosis,
  MethodReport,
  NextStep,
} from "../doctor/report.ts";
import { thisSystem } from "../doctor/this_system.ts";
import { OptionError } from "../errors.ts";
import type { Verb } from "./args.ts";
import { diagnosisText } from "./doctor_text.ts";
import { EXIT } from "./exit_code.ts";
import { print, tell } from "./output.ts";

/** `multifd doctor`. */
export const doctor: Verb = {
  name: "doctor",
  summary: "Tells what computes each method here, and for what does not work what to do next.",
  usage: "[options]",
  options: {
    require: {
      kind: "text",
      value: "METHOD",
      choices: ["qpl", "qatzip"],
      help: "end with 1 unless hardware computes the method",
    },
    simulate: {
      kind: "flag",
      help: "look at the simulated devices instead: for tests, they are no accelerators",
    },
  },
  examples: [
    ["multifd doctor", "IAA, QAT and the software codecs: what works, and what to do next"],
    ["multifd doctor --require qpl", "in a script: go on only where an IAA works"],
    ["multifd doctor --json", "everything that was found, for programs"],
    ["deno run -A jsr:@multifd/multifd/cli doctor", "Deno must allow all, to show it the devices"],
  ],
  // deno-lint-ignore require-await
  async run(options) {
    const [operand] = options.operands;
    if (operand !== undefined) throw new OptionError(`Argument ${operand} is one too many`);
    const diagnosis = diagnose(thisSystem(), { simulate: options.flag("simulate") });
    const required = options.text("require");
    const device = diagnosis.devices.find(({ method }) => method === required);
    print(
      options.flag("json")
        ? JSON.stringify(diagnosisJson(diagnosis, device))
        : diagnosisText(diagnosis),
    );
    if (device === undefined || device.works === "hardware") return EXIT.done;
    tell(`multifd doctor: method ${required} is not computed by hardware here`);
    return EXIT.failed;
  },
};

function nextJson(next: NextStep | undefined): Record<string, unknown> | null {
  return next === undefined ? null : { text: next.text, commands: next.commands };
}

function methodJson(report: MethodReport): Record<string, unknown> {
  return {
    method: report.method,
    compresses: report.compresses ?? null,
    decompresses: report.decompresses ?? null,
    works: report.works ?? null,
  };
}

function deviceJson(report: DeviceReport): Record<string, unknown> {
  return {
    engine: report.engine,
    title: report.title,
    method: report.method,
    works: report.works,
    version: report.version ?? null,
    file: report.file ?? null,
    status: report.status ?? null,
    checks: report.checks.map(({ name, value, verdict }) => ({ name, value, verdict })),
    "work-queues": report.queues.map((queue) => ({
      device: queue.device,
      name: queue.name,
      state: queue.state,
      type: queue.type,
      mode: queue.mode,
      "group-id": queue.groupId ?? null,
      size: queue.size ?? null,
      "max-transfer-size": queue.maxTransferSize ?? null,
      "cdev-minor": queue.cdevMinor ?? null,
      "numa-node": queue.numaNode ?? null,
      node: queue.node,
      access: queue.access ?? null,
    })),
    functions: report.functions.map((found) => ({
      address: found.address,
      id: found.id,
      model: found.model,
      virtual: found.isVirtual,
      driver: found.driver ?? null,
      services: found.services ?? null,
      node: found.node ?? null,
      access: found.access ?? null,
    })),
    next: nextJson(report.next),
  };
}

function codecJson(report: CodecReport): Record<string, unknown> {
  return {
    engine: report.engine,
    title: report.title,
    works: report.works,
    version: report.version ?? null,
    file: report.file ?? null,
    compresses: report.compresses,
    decompresses: report.decompresses,
    unavailable: report.why ?? null,
    next: nextJson(report.next),
  };
}

/** A diagnosis in the names of the JSON. */
function diagnosisJson(
  { machine, methods, devices, codecs }: Diagnosis,
  required: DeviceReport | undefined,
): Record<string, unknown> {
  const { memlock } = machine;
  return {
    status: "completed",
    machine: {
      runtime: machine.runtime,
      system: machine.system,
      kernel: machine.kernel ?? null,
      "kernel-parameters": machine.kernelParameters,
      // no limit is no number of JSON's
      memlock: memlock === undefined ? null : memlock === Infinity ? "unlimited" : memlock,
      "memlock-exempt": machine.isMemlockExempt,
      "lacking-permissions": machine.lacks,
    },
    methods: methods.map(methodJson),
    devices: devices.map(deviceJson),
    codecs: codecs.map(codecJson),
    ...(required === undefined
      ? {}
      : { required: { method: required.method, hardware: required.works === "hardware" } }),
  };
}
