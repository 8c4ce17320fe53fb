import { test } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { diagnosisText } from "../../src/cli/doctor_text.ts";
import { diagnose } from "../../src/doctor/diagnose.ts";
import { isAtLeast, parseMemlock } from "../../src/doctor/machine.ts";
import { fails, machine, section, SHIM, works } from "./_system.ts";

function codecs(made: Parameters<typeof machine>[0]): string {
  const text = diagnosisText(diagnose(machine(made))).split("\n\n").at(-1)!;
  return text.replace(/\s+/g, " ");
}

test("diagnose() tells of a codec that is not built, and how to build it", () => {
  const text = codecs({ files: { "/usr/include/zstd.h": "" } });
  assertStringIncludes(text, "isal does not work");
  assertStringIncludes(text, "isal, ISA-L, Intel's fast deflate for any processor: isal.so is not");
  assertStringIncludes(
    text,
    "Next: Install libisal-dev, the library that isal.so is made of, and build the shim. " +
      "sudo apt-get install libisal-dev deno task build:native",
  );
  assertStringIncludes(text, "zstd.so is not built Next: Build the shim");
});

test("diagnose() tells how to get a library that few systems have", () => {
  const missing = "qpl, libqpl's software path: qpl.so is not built Next: ";
  const inClone = codecs({});
  assertStringIncludes(inClone, `${missing}Fetch libqpl.so.1 from Debian's packages into this`);
  assertStringIncludes(inClone, "deno task fetch:accelerators deno task build:native");
  const elsewhere = codecs({ fetchCommand: undefined });
  assertStringIncludes(
    elsewhere,
    `${missing}Install libqpl-dev (in Debian since sid), the library`,
  );
  assertStringIncludes(elsewhere, "sudo apt-get install libqpl-dev deno task build:native");
  const list = (directory: string): string[] | undefined =>
    directory === "/usr/bin" ? ["dnf", "gcc", "make"] : undefined;
  assertStringIncludes(codecs({ list }), `${missing}Install libqpl-dev`);
  const installed = codecs({ files: { "/usr/include/qpl/qpl.h": "" } });
  assertStringIncludes(installed, `${missing}Build the shim`);
});

test("diagnose() tells of the compiler where that is missing, too", () => {
  const list = (directory: string): string[] | undefined =>
    directory === "/usr/bin" ? ["dnf"] : undefined;
  assertStringIncludes(codecs({ list }), "sudo dnf install gcc make libdeflate-devel");
});

test("diagnose() tells of a library that a shared object misses", () => {
  const why = `Cannot find isal.so; build it. Tried:\n  Cannot open ${SHIM}/isal.so: ` +
    "libisal.so.2: cannot open shared object file: No such file or directory";
  const text = codecs({ files: { [`${SHIM}/isal.so`]: "" }, engines: { isal: fails(why) } });
  assertStringIncludes(text, "libisal.so.2 is missing, which isal.so needs");
  assertStringIncludes(text, "sudo apt-get install libisal2");
});

test("diagnose() tells of a shared object that does not open", () => {
  const why = `Cannot find isal.so; build it. Tried:\n  Cannot open ${SHIM}/isal.so: bad magic`;
  const text = codecs({ files: { [`${SHIM}/isal.so`]: "" }, engines: { isal: fails(why) } });
  assertStringIncludes(text, `Cannot open ${SHIM}/isal.so: bad magic Next: Build the shim anew`);
});

test("diagnose() lists what a codec that works can do", () => {
  const isal = { ...works("isal", "ISA-L 2.30", "isal"), encodes: ["zlib-stream"] as const };
  const text = codecs({ engines: { isal } });
  assertStringIncludes(text, "isal works zlib - ISA-L 2.30");
  assertStringIncludes(text, `isal: ${SHIM}/isal.so`);
});

test("diagnose() says first which engine each method gets", () => {
  const lines = diagnosisText(diagnose(machine())).split("\n");
  assertEquals(lines[0], "method  compresses  decompresses  with --engine auto");
  assertEquals(
    lines.slice(1, 7).map((line) => line.split(" ")[0]),
    ["none", "zlib", "zstd", "qpl", "uadk", "qatzip"],
  );
  assertEquals(lines[1], "none    -           -             pages travel as they are");
  assertEquals(lines[2], "zlib    isal        isal          software");
});

test("diagnose() calls a simulated device simulated, and never hardware", () => {
  const simulated = { name: "iaa-simulated", isDevice: true };
  const system = machine({
    engines: {
      "iaa-simulated": works("iaa-simulated", "libqpl 1.9.0, simulated", "sim/qpl"),
      "qat-simulated": fails("Cannot find sim/qatzip.so"),
    },
    choices: { qpl: { encodes: simulated, decodes: simulated } },
  });
  const diagnosis = diagnose(system, { simulate: true });
  assertEquals(diagnosis.devices.map(({ works }) => works), ["simulated", "no"]);
  assertEquals(diagnosis.methods.map(({ works }) => works).includes("hardware"), false);
  const text = diagnosisText(diagnosis);
  assertStringIncludes(text, "qpl     iaa-simulated  iaa-simulated  simulated");
  assertStringIncludes(text, "with --simulate");
  const iaa = section(system, "iaa", { simulate: true });
  assertStringIncludes(iaa, "for method qpl: simulated, no hardware");
  assertStringIncludes(iaa, "works, simulated: this is no accelerator");
  assert(!/Next:/.test(iaa), iaa);
  const qat = section(system, "qat", { simulate: true });
  assertStringIncludes(qat, "NO shim sim/qatzip.so is not built Next: Build the simulated devices");
  assertStringIncludes(qat, "$ make -C native-shim sim");
});

test("diagnose() calls an engine simulated by its own name, whatever was asked for", () => {
  const engines = { iaa: works("iaa-simulated", "libqpl 1.9.0", "sim/qpl") };
  assertEquals(diagnose(machine({ engines })).devices[0]!.works, "simulated");
});

test("diagnose() knows nothing where Deno allows no look, and says what doctor needs", () => {
  const system = machine({
    lacks: ["--allow-read", "--allow-ffi"],
    readText: () => undefined,
    list: () => undefined,
    kernelRelease: () => undefined,
    memlock: () => undefined,
  });
  assertEquals(diagnose(system).devices.map(({ works }) => works), ["unknown", "unknown"]);
  assertStringIncludes(diagnosisText(diagnose(system)), "Deno was not given --allow-read --allow");
  for (const engine of ["iaa", "qat"]) {
    const text = section(system, engine);
    assertStringIncludes(text, "not known ? permissions Deno does not allow to look");
    assertStringIncludes(text, "run doctor with -A. $ deno run -A cli/main.ts doctor");
    assert(!/\bNO\b/.test(text), text);
  }
});

test("diagnose() sends other systems than Linux to Linux", () => {
  const text = section(machine({ platform: "darwin" }), "iaa");
  assertStringIncludes(text, "NO system darwin");
  assertStringIncludes(text, "Next: Only Linux has drivers for it");
});

test("parseMemlock() reads the soft limit", () => {
  const line = (soft: string): string => `Max locked memory         ${soft}    unlimited    bytes`;
  assertEquals(parseMemlock(line("8388608")), 8388608);
  assertEquals(parseMemlock(`Max cpu time  1  2  s\n${line("unlimited")}\n`), Infinity);
  assertEquals(parseMemlock(""), undefined);
});

test("isAtLeast() compares releases by number", () => {
  const releases = ["5.9.0", "5.18.0-rc1", "6.1.0-30-amd64", "10.0", "what"];
  assertEquals(releases.map((release) => isAtLeast(release, 5, 18)), [
    false,
    true,
    true,
    true,
    false,
  ]);
});
