/** The engines that the doctor asks for, and what it says where one is not built. */
import {
  findLoadedLibrary,
  findShim,
  findSystemLibrary,
  hasCommand,
  installCommand,
} from "./machine.ts";
import { isSimulated } from "../engines/simulated.ts";
import type { Check, NextStep, Works } from "./report.ts";
import type { Probe, System } from "./system.ts";

/** An engine, known here or not: one that is unknown is not built. */
export interface EngineSpec {
  /** Its name, as `--engine` takes it. */
  name: string;
  /** What it is. */
  title: string;
  /** Whether an accelerator computes. */
  kind: "device" | "software";
  /** The shim's shared object; undefined for the runtime's own engine. */
  object: string | undefined;
  /** The library that object is made of. */
  library?: Library;
}

/** A library, and the package that has what building against it needs. */
interface Library {
  /** Its file. */
  file: string;
  /** Its header in /usr/include. */
  header: string;
  /** Its package in Debian. */
  debian: string;
  /** Its package in Fedora. */
  fedora: string;
  /** Since when Debian has it, where that is not for long. */
  since?: string;
}

const QPL: Library = {
  file: "libqpl.so.1",
  header: "qpl",
  debian: "libqpl-dev",
  fedora: "qpl-devel",
  since: "sid",
};
const QATZIP: Library = {
  file: "libqatzip.so.3",
  header: "qatzip.h",
  debian: "libqatzip-dev",
  fedora: "qatzip-devel",
  since: "trixie",
};

/** The IAA, through libqpl. */
export const IAA: EngineSpec = {
  name: "iaa",
  title: "Intel In-Memory Analytics Accelerator (IAA, the kernel's iax)",
  kind: "device",
  object: "qpl",
  library: QPL,
};

/** The QAT, through QATzip. */
export const QAT: EngineSpec = {
  name: "qat",
  title: "Intel QuickAssist Technology (QAT)",
  kind: "device",
  object: "qatzip",
  library: QATZIP,
};

/** The software codecs. */
export const CODECS: readonly EngineSpec[] = [
  {
    name: "isal",
    title: "ISA-L, Intel's fast deflate for any processor",
    kind: "software",
    object: "isal",
    library: {
      file: "libisal.so.2",
      header: "isa-l",
      debian: "libisal-dev",
      fedora: "isa-l-devel",
    },
  },
  {
    name: "libdeflate",
    title: "libdeflate, a fast deflate decoder",
    kind: "software",
    object: "libdeflate",
    library: {
      file: "libdeflate.so.0",
      header: "libdeflate.h",
      debian: "libdeflate-dev",
      fedora: "libdeflate-devel",
    },
  },
  {
    name: "zstd",
    title: "libzstd",
    kind: "software",
    object: "zstd",
    library: {
      file: "libzstd.so.1",
      header: "zstd.h",
      debian: "libzstd-dev",
      fedora: "libzstd-devel",
    },
  },
  {
    name: "qpl",
    title: "libqpl's software path",
    kind: "software",
    object: "qpl",
    library: QPL,
  },
  {
    name: "builtin",
    title: "the runtime's own zlib and zstd",
    kind: "software",
    object: undefined,
  },
];

/** How an engine can be used. */
export function worksOf(kind: EngineSpec["kind"], probe: Probe, system: System): Works {
  if (!probe.works) return system.lacks.length > 0 ? "unknown" : "no";
  if (isSimulated(probe.name)) return "simulated";
  return kind === "device" ? "hardware" : "software";
}

/** A library that the loader says it cannot find; not the shim's own files, which have a path. */
function missingLibrary(why: string): string | undefined {
  return /(?:^|[\s:])(lib[\w+.-]+\.so[.\d]*): cannot open shared object/.exec(why)?.[1];
}

/** Why a shared object does not open: its own line, where a list tells what was tried. */
function reasonOf(why: string, file: string): string {
  const [first, ...tried] = why.split("\n");
  return tried.find((line) => line.includes(file))?.trim() ?? first!;
}

/**
 * Looks for an engine's shared object and the library it needs.
 *
 * @param system The machine.
 * @param spec The engine.
 * @param probe What asking for it gave.
 * @returns One or two checks.
 */
export function shimChecks(system: System, spec: EngineSpec, probe: Probe): Check[] {
  const { object, library } = spec;
  if (object === undefined || library === undefined) return [];
  const isUnknown = !probe.works && /^Engine \S+ is unknown/.test(probe.why);
  const file = probe.works ? probe.file : isUnknown ? undefined : findShim(system, object);
  if (file === undefined) {
    return [{
      name: "shim",
      value: `${object}.so is not built`,
      verdict: "wrong",
      next: buildStep(system, object, library),
    }];
  }
  const shim: Check = { name: "shim", value: file, verdict: "ok" };
  if (probe.works) return [shim, { name: "library", value: probe.version, verdict: "ok" }];
  const missing = missingLibrary(probe.why);
  // what opens and finds no device has a status; the rest is of the shared object itself
  const isOpen = spec.kind === "device" && !/Cannot find|another version/.test(probe.why);
  if (missing === undefined && isOpen) return [shim, ...libraryCheck(system, object, library)];
  if (missing === undefined) {
    return [{
      name: "shim",
      value: reasonOf(probe.why, file),
      verdict: "wrong",
      next: {
        text: "Build the shim anew: it is of another version of this program, or broken.",
        commands: [system.buildCommand],
      },
    }];
  }
  return [shim, {
    name: "library",
    value: `${missing} is missing, which ${object}.so needs`,
    verdict: "wrong",
    next: (missing === library.file ? fetchStep(system, library) : undefined) ?? {
      text: `Install the library ${missing}: the package is ${packageOf(missing, library)}.`,
      commands: [installCommand(system, packageOf(missing, library))],
    },
  }];
}

/** The library of a device that does not work: its software path knows its version. */
function libraryCheck(system: System, object: string, { file }: Library): Check[] {
  const software = system.probe(object);
  const facts = [software.works ? software.version : undefined, findLoadedLibrary(system, file)]
    .filter((fact) => fact !== undefined);
  return facts.length === 0 ? [] : [{ name: "library", value: facts.join(", "), verdict: "ok" }];
}

/** Where Debian has the library in newer suites only; undefined where that does not help. */
function fetchStep(
  system: System,
  { file, since }: Library,
): NextStep | undefined {
  const { fetchCommand, buildCommand } = system;
  const isDebian = hasCommand(system, "apt-get");
  if (since === undefined || fetchCommand === undefined || !isDebian) return undefined;
  return {
    text: `Fetch ${file} from Debian's packages into this project's own cache, which leaves the ` +
      "system as it is, and build the shim with it.",
    commands: [fetchCommand, buildCommand],
  };
}

/** The package with a library's file, by Debian's rule: libqatzip.so.3 is in libqatzip3. */
function packageOf(file: string, { debian }: Library): string {
  const match = /^lib(.+)\.so\.(\d+)/.exec(file);
  if (match === null) return debian;
  const [, name, version] = match;
  return `lib${name}${/\d$/.test(name!) ? "-" : ""}${version}`;
}

function buildStep(system: System, object: string, library: Library): NextStep {
  const { buildCommand, fetchCommand } = system;
  const isHere = system.list("/usr/include")?.includes(library.header) === true;
  if (object.startsWith("sim/")) {
    const fetch = isHere || fetchCommand === undefined ? [] : [fetchCommand];
    return {
      text: "Build the simulated devices: they come with a clone of this project only.",
      commands: [...fetch, "make -C native-shim sim"],
    };
  }
  if (isHere) {
    return {
      text: `Build the shim, the small C library that lets this program use ${library.file}.`,
      commands: [buildCommand],
    };
  }
  const { since } = library;
  const step = fetchStep(system, library);
  if (step !== undefined) return step;
  const tools = hasCommand(system, "gcc") && hasCommand(system, "make") ? "" : "gcc make ";
  const install = installCommand(system, `${tools}${library.debian}`, `${tools}${library.fedora}`);
  const found = findSystemLibrary(system, library.file);
  return {
    text: `Install ${library.debian}${since === undefined ? "" : ` (in Debian since ${since})`}, ` +
      (found === undefined ? "the library" : "the headers of the library") +
      ` that ${object}.so is made of, and build the shim.`,
    commands: [install, buildCommand],
  };
}
