import { spawnSync } from "node:child_process";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { thisSystem } from "../../src/doctor/this_system.ts";
import { denoPath, root } from "../_tools.ts";
import { here, run } from "../cli/_command.ts";

/** Whether this machine has the device; then what must not work here does. */
const hasDevice = (name: string): boolean => {
  const { list } = thisSystem();
  return list(name === "iaa" ? "/dev/iax" : "/dev/vfio") !== undefined;
};

test("thisSystem() looks at this machine, and finds what is not there to be not there", () => {
  const system = thisSystem();
  assertEquals(system.access("/dev/null"), "read-write");
  assertEquals(system.access("/dev/no-such-node"), "missing");
  assertEquals(system.readText("/proc/no-such-file"), undefined);
  assertEquals(system.list("/proc/no-such-folder"), undefined);
  assertEquals(system.linkName("/proc/self/exe"), path.basename(process.execPath));
  assertMatch(system.kernelRelease()!, /^\d+\.\d+/);
  assert(system.memlock()! > 0);
  assertEquals(system.lacks, []);
});

test("multifd doctor tells what works on this machine", async () => {
  const { code, stdout, stderr } = await run(here, ["doctor"]);
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /^method +compresses +decompresses +with --engine auto\nnone /);
  assertMatch(stdout, /^iaa: .* for method qpl: /m);
  assertMatch(stdout, /^qat: .* for method qatzip: /m);
  assertMatch(stdout, /^builtin +works +zlib zstd qpl uadk qatzip/m);
});

test("multifd doctor --json has everything, in kebab-case", async () => {
  const { code, stdout } = await run(here, ["doctor", "--json"]);
  assertEquals(code, 0);
  const report = JSON.parse(stdout);
  assertEquals(Object.keys(report), ["status", "machine", "methods", "devices", "codecs"]);
  assertEquals(report.methods.map((method: { method: string }) => method.method), [
    "none",
    "zlib",
    "zstd",
    "qpl",
    "uadk",
    "qatzip",
  ]);
  const engines = [...report.devices, ...report.codecs].map(({ engine }) => engine);
  assertEquals(engines, ["iaa", "qat", "isal", "libdeflate", "zstd", "qpl", "builtin"]);
  assertEquals(Object.keys(report.devices[0]), [
    "engine",
    "title",
    "method",
    "works",
    "version",
    "file",
    "status",
    "checks",
    "work-queues",
    "functions",
    "next",
  ]);
  const keys = stdout.match(/"[^"\\]+":/g)!.map((key) => key.slice(1, -2));
  assertEquals(keys.filter((key) => !/^[a-z]+(-[a-z]+)*$/.test(key)), []);
  for (const { works, next } of report.devices) assertEquals(next === null, works === "hardware");
});

for (const [method, engine] of [["qpl", "iaa"], ["qatzip", "qat"]] as const) {
  const skip = hasDevice(engine) ? `this machine may have a ${engine}` : false;
  test(`multifd doctor --require ${method} ends with 1 without the device`, { skip }, async () => {
    const { code, stdout, stderr } = await run(here, ["doctor", "--json", "--require", method]);
    assertEquals(code, 1);
    assertEquals(JSON.parse(stdout).required, { method, hardware: false });
    assertStringIncludes(stderr, `method ${method} is not computed by hardware here`);
  });
}

test("multifd doctor --require refuses a simulated device", async () => {
  const { code, stdout } = await run(here, ["doctor", "--simulate", "--require", "qpl"]);
  assertEquals(code, 1);
  assert(!stdout.includes("works in hardware"));
});

for (
  const [args, message] of [
    [["--require", "zlib"], "--require zlib is unknown"],
    [["--require"], "--require needs a value"],
    [["qpl"], "Argument qpl is one too many"],
    [["--requires", "qpl"], 'did you mean "require"?'],
  ] as const
) {
  test(`multifd doctor ${args.join(" ")} ends with usage: ${message}`, async () => {
    const { code, stdout, stderr } = await run(here, ["doctor", ...args]);
    assertEquals([code, stdout], [2, ""]);
    assertStringIncludes(stderr, message);
  });
}

test("multifd doctor --help teaches by example", async () => {
  const { code, stdout } = await run(here, ["doctor", "--help"]);
  assertEquals(code, 0);
  assertMatch(stdout, /Examples:\n {2}# .+\n {2}multifd doctor\b/);
});

/** Runs the command under Deno with these permissions. */
function runWith(...flags: string[]): { code: number | null; stdout: string; stderr: string } {
  const script = path.join(root, "src", "cli", "main.ts");
  // Deno's spawnSync() puts -A into a Deno's arguments that name no permission
  const some = "--allow-net=127.0.0.1:1";
  const { status, stdout, stderr } = spawnSync(
    denoPath()!,
    ["run", "--quiet", "--no-prompt", some, ...flags, script, "doctor"],
    { cwd: root, encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } },
  );
  return { code: status, stdout, stderr };
}

test("multifd doctor without Deno's permissions says that it needs -A", () => {
  const { code, stdout, stderr } = runWith();
  assertEquals([code, stderr], [0, ""]);
  const text = stdout.replace(/\s+/g, " ");
  assertStringIncludes(
    text,
    "Deno was not given --allow-read --allow-write --allow-env --allow-sys --allow-ffi",
  );
  assertStringIncludes(text, "doctor needs deno run -A");
  assertEquals(text.split("not known ? permissions").length, 3);
  assert(!text.includes(" NO "), stdout);
});

test("multifd doctor with all of Deno's permissions but -A says that it needs -A", () => {
  const { code, stdout } = runWith(
    "--allow-read",
    "--allow-write",
    "--allow-env",
    "--allow-sys",
    "--allow-ffi",
  );
  assertEquals(code, 0);
  assertStringIncludes(stdout, "Deno was not given -A");
});
