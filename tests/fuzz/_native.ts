/** The shim's decoders under libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { root } from "../_tools.ts";
import { joined } from "../methods/_pages.ts";
import { Random } from "../_random.ts";
import { anyPage, encodeChannel } from "./_channels.ts";
import { recordedPayloads } from "./_migration.ts";

const shim = path.join(root, "native-shim");
const vendor = path.join(shim, "vendor");

/** What libFuzzer may do with an input: no packet is larger, few need be as large. */
const MAX_INPUT = 65_536;
const SEEDS_OF_EACH = 24;

/** A library and the methods whose format it decodes, in the order of codec.h's formats. */
export interface NativeLibrary {
  name: string;
  header: string;
  methods: readonly string[];
  sources: readonly string[];
  flags: readonly string[];
}

/** QATzip itself looks for devices and says so on each call, so its place is taken by zlib. */
export const LIBRARIES: readonly NativeLibrary[] = [
  {
    name: "isal",
    header: "isa-l.h",
    methods: ["zlib"],
    sources: ["software.c"],
    flags: ["-lisal"],
  },
  {
    name: "libdeflate",
    header: "libdeflate.h",
    methods: ["qpl", "uadk", "qatzip"],
    sources: ["software.c"],
    flags: ["-ldeflate"],
  },
  { name: "zstd", header: "zstd.h", methods: ["zstd"], sources: ["software.c"], flags: ["-lzstd"] },
  {
    name: "qpl",
    header: "qpl/qpl.h",
    methods: ["qpl"],
    sources: ["glibc_compat.c"],
    flags: [
      `-I${path.join(vendor, "include")}`,
      ...[path.join(vendor, "lib", "libqpl.a"), "-lstdc++", "-ldl", "-lpthread"],
    ],
  },
  {
    name: "qatzip",
    header: "qatzip.h",
    methods: ["qatzip"],
    sources: ["sim/qatzip_sim.c", "sim/device.c"],
    flags: ["-DMULTIFD_SIM", `-I${path.join(vendor, "include")}`, "-lz", "-lpthread"],
  },
];

const SANITIZERS = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"];
const FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-g", "-O1"];

/** Why a library cannot be fuzzed here; undefined where it can. */
export function whyNot({ header, flags }: NativeLibrary): string | undefined {
  const include = flags.filter((flag) => flag.startsWith("-I"));
  const input = `#include <stddef.h>\n#include <${header}>\n`;
  const probe = spawnSync("clang", [...include, "-E", "-"], { input });
  if (probe.error) return "clang is missing";
  if (probe.status !== 0) return `${header} is missing`;
  const program = "int LLVMFuzzerTestOneInput(const char *d, unsigned long n);\n" +
    "int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return !d && n; }\n";
  const args = ["-x", "c", ...SANITIZERS, "-", "-o", "/dev/null"];
  const links = spawnSync("clang", args, { input: program }).status === 0;
  return links ? undefined : "libFuzzer is missing (Debian: libclang-rt-dev)";
}

/**
 * Builds a fuzzer of one library.
 *
 * @param folder Where it goes.
 * @param source The library's wrapper; the shim's own where it is not told.
 * @returns The program.
 */
export function build(library: NativeLibrary, folder: string, source?: string): string {
  const { name, sources, flags } = library;
  const program = path.join(folder, `fuzz-${name}`);
  const files = [
    source ?? path.join(shim, `${name}.c`),
    ...sources.map((file) => path.join(shim, file)),
  ];
  const { status, stderr } = spawnSync("clang", [
    ...[...SANITIZERS, ...FLAGS, `-I${shim}`, "-o", program],
    ...[path.join(root, "tests", "fuzz", "native", "decode.c"), ...files, ...flags],
  ], { encoding: "utf8" });
  if (status !== 0) throw new Error(`clang did not build ${name}: ${stderr}`);
  return program;
}

/** An input as decode.c takes it. */
function inputOf(
  format: number,
  pageSize: number,
  packets: readonly { pages: number; payload: Uint8Array }[],
): Uint8Array {
  const parts = packets.flatMap(({ pages, payload: { length }, payload }) => [
    Uint8Array.of(pages - 1, length >> 16, length >> 8, length),
    payload,
  ]);
  return joined([Uint8Array.of(Math.log2(pageSize / 4096) | format << 3), ...parts]);
}

/** Writes what the fuzzer starts from: payloads of recordings, and of every encoder there is. */
export async function writeCorpus(
  { methods }: NativeLibrary,
  folder: string,
  seed: number,
): Promise<number> {
  fs.mkdirSync(folder, { recursive: true });
  let count = 0;
  const write = (bytes: Uint8Array): void => {
    if (bytes.length > MAX_INPUT) return;
    fs.writeFileSync(path.join(folder, `seed-${count++}`), bytes);
  };
  for (const [format, method] of methods.entries()) {
    for (const packets of recordedPayloads(method)) {
      // a stream's first packets, as many as there is room for
      for (const most of [1, 3]) write(inputOf(format, 4096, packets.slice(0, most)));
    }
    for (let i = 0; i < SEEDS_OF_EACH; i++) {
      const random = new Random(seed + i);
      const pageSize = random.pick([4096, 4096, 65536]);
      const packets = Array.from(
        { length: 1 + random.below(3) },
        () => joined(Array.from({ length: 1 + random.below(3) }, () => anyPage(pageSize, random))),
      );
      const payloads = await encodeChannel(method, packets, pageSize, random);
      write(inputOf(
        format,
        pageSize,
        payloads.map((payload, i) => ({ pages: packets[i]!.length / pageSize, payload })),
      ));
    }
  }
  return count;
}

/** What became of a run. */
export interface NativeRun {
  /** Inputs that were run. */
  inputs: number;
  /** Edges of the wrapper and of decode.c that were reached. */
  edges: number;
  /** What libFuzzer said, where it found something. */
  finding: string | undefined;
}

/**
 * Runs a fuzzer.
 *
 * @param program What {@linkcode build} gave.
 * @param corpus Its inputs; new ones are added.
 * @param limits `-max_total_time=S` or `-runs=N`, and `-seed=N`.
 * @param artifacts Where a finding's input goes.
 */
export function runFuzzer(
  program: string,
  corpus: string,
  limits: readonly string[],
  artifacts: string,
): NativeRun {
  const { status, stderr } = spawnSync(program, [
    corpus,
    ...limits,
    ...[`-max_len=${MAX_INPUT}`, "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"],
    `-artifact_prefix=${artifacts}${path.sep}${path.basename(program)}-`,
  ], { encoding: "utf8", maxBuffer: 2 ** 28 });
  const edges = [...stderr.matchAll(/ cov: (\d+)/g)].at(-1)?.[1];
  return {
    inputs: Number(/number_of_executed_units:\s*(\d+)/.exec(stderr)?.[1] ?? 0),
    edges: Number(edges ?? 0),
    finding: status === 0 ? undefined : stderr.slice(-4000),
  };
}
