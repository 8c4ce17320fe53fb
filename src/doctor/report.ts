/** What the doctor finds. */
import type { Access } from "./system.ts";

/** How something can be used here. `unknown` where Deno allowed no look. */
export type Works = "hardware" | "simulated" | "software" | "no" | "unknown";

/** What a fact means for what is examined: nothing for a mere `fact`. */
export type Verdict = "ok" | "wrong" | "unknown" | "fact";

/** The one thing to do next. */
export interface NextStep {
  /** What and why, for someone who has never seen the device. */
  text: string;
  /** Commands for a shell, in order. */
  commands: readonly string[];
}

/** Something that was looked at. */
export interface Check {
  /** What, in kebab-case. */
  name: string;
  /** What was seen. */
  value: string;
  /** What it means. */
  verdict: Verdict;
  /** What to do about it, where it is wrong. */
  next?: NextStep;
}

/** An IAA's work queue. A number is undefined where the kernel does not tell it. */
export interface WorkQueue {
  /** The device, e.g. `iax1`. */
  device: string;
  /** E.g. `wq1.0`. */
  name: string;
  /** `enabled` or `disabled`. */
  state: string;
  /** `user`, `kernel` or `none`. */
  type: string;
  /** `shared` or `dedicated`. */
  mode: string;
  /** Its group of engines; -1 for none. */
  groupId: number | undefined;
  /** Its entries. */
  size: number | undefined;
  /** Most bytes of a job. */
  maxTransferSize: number | undefined;
  /** Its node's minor number. */
  cdevMinor: number | undefined;
  /** The socket of its device. */
  numaNode: number | undefined;
  /** Its node in /dev. */
  node: string;
  /** What opening the node gives; undefined where it was not tried. */
  access: Access | undefined;
}

/** A PCI function of a QAT. */
export interface QatFunction {
  /** E.g. `0000:6b:00.0`. */
  address: string;
  /** Vendor and device, e.g. `8086:4940`. */
  id: string;
  /** E.g. `4xxx`. */
  model: string;
  /** Whether it is a virtual function: those are what programs use. */
  isVirtual: boolean;
  /** The kernel driver that has it. */
  driver: string | undefined;
  /** Of a physical one: what it is configured for, e.g. `sym;asym`. */
  services: string | undefined;
  /** Of a virtual one: its node in /dev. */
  node: string | undefined;
  /** What opening the node gives; undefined where it was not tried. */
  access: Access | undefined;
}

/** An accelerator. */
export interface DeviceReport {
  /** The engine's name, e.g. `iaa`. */
  engine: string;
  /** What it is. */
  title: string;
  /** The method it computes. */
  method: string;
  /** How it can be used. */
  works: Works;
  /** Its library and version; undefined where it does not work. */
  version: string | undefined;
  /** The shim's shared object; undefined where it does not work. */
  file: string | undefined;
  /** Its library's name for why it does not. */
  status: string | undefined;
  /** What was looked at, causes before what follows from them. */
  checks: readonly Check[];
  /** An IAA's queues. */
  queues: readonly WorkQueue[];
  /** A QAT's functions. */
  functions: readonly QatFunction[];
  /** What to do next; undefined where it works. */
  next: NextStep | undefined;
}

/** A software codec. */
export interface CodecReport {
  /** The engine's name, e.g. `isal`. */
  engine: string;
  /** What it is. */
  title: string;
  /** How it can be used. */
  works: Works;
  /** Its library and version; undefined where it does not work. */
  version: string | undefined;
  /** The shim's shared object; undefined where there is none. */
  file: string | undefined;
  /** Methods it compresses. */
  compresses: readonly string[];
  /** Methods it decompresses. */
  decompresses: readonly string[];
  /** Why it does not work; undefined where it does. */
  why: string | undefined;
  /** What to do next; undefined where it works. */
  next: NextStep | undefined;
}

/** What computes a method here. */
export interface MethodReport {
  /** QEMU's name for it. */
  method: string;
  /** The engine that compresses; undefined where none is needed or there. */
  compresses: string | undefined;
  /** The engine that decompresses; undefined where none is needed or there. */
  decompresses: string | undefined;
  /** How; undefined for a method that computes nothing. */
  works: Works | undefined;
}

/** The machine in general. */
export interface MachineReport {
  /** The runtime and its version. */
  runtime: string;
  /** E.g. `linux x64`. */
  system: string;
  /** The kernel's release. */
  kernel: string | undefined;
  /** The kernel's parameters that matter here. */
  kernelParameters: readonly string[];
  /** Most bytes that may be locked in memory, `Infinity` for no limit. */
  memlock: number | undefined;
  /** Whether that limit does not bind this process. */
  isMemlockExempt: boolean;
  /** Flags that Deno was not given. */
  lacks: readonly string[];
}

/** Everything the doctor found. */
export interface Diagnosis {
  /** The machine in general. */
  machine: MachineReport;
  /** Whether the devices are simulated ones. */
  isSimulation: boolean;
  /** What computes each method, as `auto` chooses. */
  methods: readonly MethodReport[];
  /** The accelerators. */
  devices: readonly DeviceReport[];
  /** The software codecs. */
  codecs: readonly CodecReport[];
}
