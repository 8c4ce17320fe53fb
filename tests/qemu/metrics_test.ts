/** `--metrics-file` of every verb that has it, read by Prometheus' own promtool. */
import fs from "node:fs";
import { test } from "node:test";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { formatMetrics } from "../../src/telemetry/exposition.ts";
import { migrationMetrics } from "../../src/telemetry/migration_metrics.ts";
import { readExposition } from "../telemetry/_exposition.ts";
import { STATE } from "../telemetry/_state.ts";
import { type Lab, qemuTest } from "./_lab.ts";
import { checkMetrics, promtool } from "./promtool.ts";

const program = promtool();
const skip = program === undefined && "no promtool: deno task test:qemu fetches it";

test("promtool finds nothing wrong with the metrics of a migration on a device", { skip }, () => {
  assertEquals(checkMetrics(program!, formatMetrics(migrationMetrics(STATE), {})), "");
});

test("promtool finds what is wrong", { skip }, () => {
  const samples = [{ labels: {}, value: 1 }];
  const wrong = formatMetrics([{ name: "a_ms", type: "counter", help: "A.", samples }], {});
  assertStringIncludes(checkMetrics(program!, wrong), 'should have "_total" suffix');
});

/** What is wrong with the files that the lab's migrations wrote. */
function wrongIn(lab: Lab, ...names: string[]): string[] {
  return names.map((name) => {
    const text = fs.readFileSync(lab.path(name), "utf8");
    assertStringIncludes(text, `migration="${name.slice(0, -5)}",status="completed"} 1`);
    readExposition(text);
    return program === undefined ? "" : checkMetrics(program, text);
  });
}

for (const runtime of ["deno", "bun"] as const) {
  qemuTest("10.0", `save and restore tell Prometheus how it goes, ${runtime}`, async (lab) => {
    const source = await lab.running({ version: "10.0" });
    const vm = lab.path("vm");
    const [saved, restored] = ["save.prom", "restore.prom"];
    const file = ["--metrics-file", lab.path(saved)];
    await lab.run(runtime, 0, "save", "--qmp", source.qmpSocket, "--out", vm, ...file);
    const target = await lab.waiting({ version: "10.0" });
    const where = ["--qmp", target.qmpSocket, "--metrics-file", lab.path(restored)];
    await lab.run(runtime, 0, "restore", vm, ...where);
    await target.guestGoesOn();
    assertEquals(wrongIn(lab, saved, restored), ["", ""]);
  });
}
