/** What the doctor found, as text for people. */
import type {
  Check,
  CodecReport,
  DeviceReport,
  Diagnosis,
  MachineReport,
  MethodReport,
  NextStep,
  QatFunction,
  Verdict,
  WorkQueue,
  Works,
} from "../doctor/report.ts";
import { formatBytes, table } from "./output.ts";

/** Characters in a line, where there are words to break it at. */
const WIDTH = 96;

const MARKS: Record<Verdict, string> = { ok: "ok", wrong: "NO", unknown: "?", fact: "" };

const WORDS: Record<Works, string> = {
  hardware: "works in hardware",
  simulated: "simulated, no hardware",
  software: "works",
  no: "does not work",
  unknown: "not known",
};

/** Breaks text into lines of whole words. */
function wrap(text: string, first: string, rest: string): string {
  const lines = [first];
  for (const word of text.split(" ")) {
    const line = lines.at(-1)!;
    const isStart = line === first && lines.length === 1 || line === rest;
    if (!isStart && line.length + 1 + word.length > WIDTH) lines.push(rest + word);
    else lines[lines.length - 1] = isStart ? line + word : `${line} ${word}`;
  }
  return lines.join("\n");
}

function indent(text: string): string {
  return text.split("\n").map((line) => `  ${line}`).join("\n");
}

function nextText(next: NextStep): string {
  return [
    wrap(next.text, "  Next: ", "        "),
    ...next.commands.map((command) => `          ${command}`),
  ].join("\n");
}

function machineText(machine: MachineReport): string {
  const { runtime, system, kernel, kernelParameters, memlock, isMemlockExempt, lacks } = machine;
  const lines = [`machine: ${runtime} on ${system}`];
  if (kernel !== undefined) {
    const parameters = kernelParameters.join(" ") || "no IOMMU's parameter on its command line";
    lines.push(`  kernel   ${kernel}, ${parameters}`);
  }
  if (memlock !== undefined) {
    const limit = memlock === Infinity ? "no limit" : formatBytes(memlock);
    const exempt = isMemlockExempt ? ", which does not bind this process (CAP_IPC_LOCK)" : "";
    lines.push(`  memlock  ${limit}${exempt}`);
  }
  if (lacks.length > 0) {
    const text = `Deno was not given ${lacks.join(" ")}: what it does not show is not known. ` +
      "doctor needs deno run -A.";
    lines.push(wrap(text, "  ", "  "));
  }
  return lines.join("\n");
}

function methodsText({ methods, isSimulation }: Diagnosis): string {
  const rows = methods.map(({ method, compresses, decompresses, works }) => [
    method,
    compresses ?? "-",
    decompresses ?? "-",
    works === undefined ? "pages travel as they are" : works === "no" ? "no engine" : works,
  ]);
  return table([
    [
      "method",
      "compresses",
      "decompresses",
      isSimulation ? "with --simulate" : "with --engine auto",
    ],
    ...rows,
  ]);
}

function checksText(checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  return checks.map(({ name, value, verdict }) =>
    wrap(
      value,
      `  ${MARKS[verdict].padEnd(3)} ${name.padEnd(width)}  `,
      " ".repeat(8 + width),
    )
  ).join("\n");
}

function queuesText(queues: readonly WorkQueue[]): string {
  const number = (value: number | undefined): string => value === undefined ? "?" : String(value);
  return table([
    ["queue", "state", "type", "mode", "group", "size", "max transfer", "socket", "node", "access"],
    ...queues.map((queue) => [
      `${queue.device}/${queue.name}`,
      queue.state,
      queue.type,
      queue.mode,
      number(queue.groupId),
      number(queue.size),
      number(queue.maxTransferSize),
      number(queue.numaNode),
      queue.node,
      queue.access ?? "-",
    ]),
  ]);
}

/** A QAT has 16 virtual functions and more, mostly alike: those are one line. */
function functionsText(functions: readonly QatFunction[]): string {
  const groups = new Map<string, { row: string[]; count: number }>();
  for (const { address, id, model, isVirtual, driver, services, node, access } of functions) {
    const what = `${model} ${isVirtual ? "virtual" : "physical"}`;
    const alike = [what, id, driver ?? "none", services ?? "-"];
    const key = [...alike, node === undefined, access].join("|");
    const group = groups.get(key);
    if (group === undefined) {
      groups.set(key, { row: [address, ...alike, node ?? "-", access ?? "-"], count: 1 });
    } else group.count++;
  }
  return table([
    ["function", "what", "id", "driver", "services", "node", "access"],
    ...[...groups.values()].map(({ row: [address, ...row], count }) => [
      `${address}${count > 1 ? ` and ${count - 1} more` : ""}`,
      ...row,
    ]),
  ]);
}

function deviceText(report: DeviceReport, methods: readonly MethodReport[]): string {
  const { engine, title, method, works, checks, queues, functions, next } = report;
  const lines = [
    `${engine}: ${title}, for method ${method}: ${WORDS[works]}`,
    checksText(checks),
  ];
  if (queues.length > 0) lines.push(indent(queuesText(queues)));
  if (functions.length > 0) lines.push(indent(functionsText(functions)));
  if (next !== undefined) lines.push(nextText(next));
  const used = methods.find((report) => report.method === method);
  if (used?.works === "software") {
    const engines = [...new Set([used.compresses, used.decompresses])].join(" and ");
    lines.push(wrap(
      `Meanwhile software (${engines}) computes ${method}: the same on the wire, with more CPU.`,
      "  ",
      "  ",
    ));
  }
  return lines.join("\n");
}

function codecsText(codecs: readonly CodecReport[]): string {
  const lines = [table([
    ["software", "", "compresses", "decompresses", "library"],
    ...codecs.map(({ engine, works, compresses, decompresses, version }) => [
      engine,
      WORDS[works],
      compresses.join(" ") || "-",
      decompresses.join(" ") || "-",
      version ?? "-",
    ]),
  ])];
  for (const { engine, title, file, why, next } of codecs) {
    if (file !== undefined) lines.push(`  ${engine}: ${file}`);
    if (why !== undefined) lines.push(wrap(`${engine}, ${title}: ${why}`, "  ", "    "));
    if (next !== undefined) lines.push(nextText(next));
  }
  return lines.join("\n");
}

/** A diagnosis, for people. */
export function diagnosisText(diagnosis: Diagnosis): string {
  const { machine, methods, devices, codecs } = diagnosis;
  return [
    methodsText(diagnosis),
    machineText(machine),
    ...devices.map((report) => deviceText(report, methods)),
    codecsText(codecs),
  ].join("\n\n");
}
