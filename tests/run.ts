/** Set-up, checks, the tests under Deno and under Bun: `deno task test`. */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { Report } from "./_report.ts";
import { bunPath, root, setUp } from "./_tools.ts";
import { runChecks } from "./check.ts";

setUp();
const report = new Report("test");

/** Checks in C, under sanitizers: compilers and processors, whatever the runtime. */
const NATIVE = "tests/native";
/** `deno task test:qemu` runs these. */
const QEMU = "tests/qemu";
/** `deno task fuzz:native` runs this: it needs clang. */
const FUZZER = "tests/fuzz/native_test.ts";

/** It measures its process, in which thousands of other tests would leave their garbage. */
const ENDURANCE = "tests/migration/endurance_test.ts";

/** A process of their own: a runner takes one file after the other, and much here is waiting. */
const MIGRATIONS = ["migration", "transport", "hostile", "qemu_driver"].map((folder) =>
  `tests/${folder}`
);

const deno = ["test", "-A", "--quiet", "--no-check"];
const bun = ["test", "--timeout=120000", "--reporter=junit"];

const isIn = (file: string, folders: string[]): boolean =>
  folders.some((folder) => file.startsWith(`${folder}/`));
const files = fs.readdirSync(path.join(root, "tests"), { recursive: true, encoding: "utf8" })
  .map((file) => `tests/${file}`)
  .filter((file) => file.endsWith("_test.ts") && file !== FUZZER && !isIn(file, [NATIVE, QEMU]))
  .sort();

/** Tests under Deno, as one module: it makes an isolate for each that it is given, in 0.4 s. */
function runDeno(name: string, files: string[]): Promise<void> {
  const args = [`--junit-path=${report.file(name)}`, report.moduleOf(name, files)];
  return report.run(name, process.execPath, [...deno, ...args]);
}

// three at a time, since each waits a lot; with more of them they wait for one another
const runs = Promise.all([
  runDeno("deno", files.filter((file) => !isIn(file, MIGRATIONS))),
  runDeno("deno-migrations", files.filter((file) => isIn(file, MIGRATIONS) && file !== ENDURANCE))
    .then(() =>
      report.run("native", process.execPath, [
        ...deno,
        `--junit-path=${report.file("native")}`,
        NATIVE,
        ENDURANCE,
      ])
    ),
  report.run("bun-migrations", bunPath()!, [
    ...bun,
    `--reporter-outfile=${report.file("bun-migrations")}`,
    ...MIGRATIONS.map((folder) => `./${folder}`),
  ]).then(() =>
    report.run("bun", bunPath()!, [
      ...bun,
      `--reporter-outfile=${report.file("bun")}`,
      ...[QEMU, ...MIGRATIONS].map((folder) => `--path-ignore-patterns=${folder}/**`),
      "./tests",
    ])
  ),
]);

const failedChecks = runChecks();
await runs;
report.addFailures(failedChecks.length);
await report.close(...failedChecks.map((name) => `failed check: ${name}`));
