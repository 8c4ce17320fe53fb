/** Advice on a guest that runs, and settings that QEMU itself takes. */
import fs from "node:fs";
import { assert, assertEquals } from "@std/assert";
import { candidatesOf } from "../../src/advise/candidates.ts";
import { planOf } from "../../src/advise/recommend.ts";
import { settingsOf } from "../../src/advise/settings.ts";
import { here } from "../cli/_command.ts";
import { qemuTest } from "./_lab.ts";
import { within } from "./_wait.ts";
import { profile, question } from "../advise/_coefficients.ts";

/** What a guest of 32 MiB with a VGA card of 2 MiB has at least. */
const RAM = 34 * 2 ** 20;

qemuTest("10.0", "multifd advise --pid samples a guest that goes on meanwhile", async (lab) => {
  const qemu = await lab.running({ version: "10.0" });
  const args = ["--pid", pidOf(qemu.qmpSocket), "--quick", "--method", "zstd", "--json", "--quiet"];
  const { outcome } = lab.multifd(here, "advise", ...args);
  await qemu.guestGoesOn();
  const { code, stdout, stderr } = await within("advise ends", outcome);
  assertEquals(code, 0, stderr);
  const { source, scenario, plans } = JSON.parse(stdout);
  assertEquals([source.kind, scenario.sender], ["process", "qemu"]);
  assert(source.bytes >= RAM && source.bytes < 2 * RAM, `${source.bytes} bytes of RAM`);
  assert(source["zero-share"] > 0.1 && source["zero-share"] < 1);
  assert(plans.length > 1);
  await qemu.guestGoesOn();
  assertEquals(await qemu.state(), "running");
});

qemuTest("10.0", "settingsOf() gives QMP that QEMU takes", async (lab) => {
  const qemu = lab.qemu({ version: "10.0" });
  const guest = profile();
  const known = candidatesOf(guest, "qemu")
    .filter(({ method }) => ["none", "zlib", "zstd"].includes(method));
  assertEquals(known.length >= 3, true);
  for (const candidate of known) {
    const { qmp } = settingsOf(planOf(candidate, question({ guest }), 5), "qemu");
    for (const { execute, arguments: args } of qmp as QmpCommand[]) {
      await qemu.execute(execute, args);
    }
    const parameters = await qemu.execute<Record<string, unknown>>("query-migrate-parameters");
    assertEquals(parameters["multifd-channels"], 5);
    assertEquals(parameters["multifd-compression"], candidate.method);
  }
});

/** The process that has something among its arguments. */
function pidOf(argument: string): string {
  return fs.readdirSync("/proc").find((name) => {
    const file = `/proc/${name}/cmdline`;
    return /^\d+$/.test(name) && fs.existsSync(file) &&
      fs.readFileSync(file, "latin1").includes(argument);
  })!;
}

interface QmpCommand {
  execute: string;
  arguments: Record<string, unknown>;
}
