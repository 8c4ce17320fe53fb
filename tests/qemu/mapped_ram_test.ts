/** mapped-ram files: QEMU loads ours, and we read and send on what QEMU saves, as it saves it. */
import fs from "node:fs";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Runtime } from "../cli/_command.ts";
import { countRounds } from "./_guest.ts";
import { imageHash, type Lab, qemuTest } from "./_lab.ts";
import type { Qemu, QemuOptions } from "./_qemu.ts";
import { until, within } from "./_wait.ts";

const V10 = { version: "10.0" } as const;
const UUID = ["-uuid", "4d554c54-4946-4421-8000-000000000001"];

/** How a QEMU reads and writes such a file. */
interface FileOptions {
  multifd: boolean;
  parameters?: Record<string, unknown>;
}

async function configure(qemu: Qemu, { multifd, parameters = {} }: FileOptions): Promise<void> {
  await qemu.configure({
    capabilities: { "mapped-ram": true, multifd, "return-path": false },
    parameters,
  });
}

/** Has a new QEMU load a file; its status. */
async function load(
  lab: Lab,
  file: string,
  qemuOptions: QemuOptions,
  fileOptions: FileOptions,
): Promise<{ qemu: Qemu; status: string }> {
  const qemu = lab.qemu({ ...qemuOptions, incoming: true });
  await configure(qemu, fileOptions);
  await qemu.listen(`file:${lab.path(file)}`);
  return { qemu, status: await qemu.migrated() };
}

/** Whether the file system can read around the system's cache; some in memory cannot. */
function takesDirectIo(file: string): boolean {
  try {
    fs.closeSync(fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_DIRECT));
    return true;
  } catch {
    return false;
  }
}

/** Has a QEMU save a guest that goes on meanwhile, so that pages become zero in several rounds. */
async function saveToFile(qemu: Qemu, file: string, multifd: boolean): Promise<void> {
  await configure(qemu, {
    multifd,
    parameters: { "max-bandwidth": 16 * 2 ** 20, "downtime-limit": 1 },
  });
  await qemu.migrate(`file:${file}`);
  await until("QEMU has gone over its memory several times", async () => {
    const { status, ram } = await qemu.migration();
    return status !== "active" || (ram?.["dirty-sync-count"] ?? 0) >= 4;
  });
  await qemu.execute("migrate-set-parameters", { "max-bandwidth": 0, "downtime-limit": 10_000 });
  assertEquals(await qemu.migrated(), "completed");
}

/** Runs the command to its end, which must be a good one; what it printed. */
async function multifd(lab: Lab, runtime: Runtime, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await within(
    "multifd ends",
    lab.multifd(runtime, ...args).outcome,
  );
  assertEquals(code, 0, stderr);
  return stdout;
}

qemuTest("10.0", "loads a file that recv made, in each of its ways", async (lab) => {
  const source = await lab.running(V10);
  const args = ["--format", "mapped-ram"];
  await lab.save(source, "vm.mapped-ram", "deno", { channels: 4, args });
  const ways: FileOptions[] = [
    { multifd: false },
    { multifd: true },
  ];
  if (takesDirectIo(lab.path("vm.mapped-ram"))) {
    ways.push({ multifd: true, parameters: { "direct-io": true, "multifd-channels": 4 } });
  }
  for (const way of ways) {
    const { qemu, status } = await load(lab, "vm.mapped-ram", V10, way);
    assertEquals(status, "completed");
    await qemu.guestGoesOn();
    assert(countRounds(source.console + qemu.console) > 3);
  }
});

qemuTest("10.0", "loads a file of another uuid nowhere", async (lab) => {
  const source = await lab.running({ ...V10, args: UUID });
  await lab.save(source, "vm.mapped-ram", "bun", { args: ["--format", "mapped-ram"] });
  const own = await load(lab, "vm.mapped-ram", { ...V10, args: UUID }, { multifd: true });
  assertEquals(own.status, "completed");
  const other = ["-uuid", UUID[1]!.replace(/1$/, "2")];
  const refused = load(lab, "vm.mapped-ram", { ...V10, args: other }, { multifd: true });
  assertStringIncludes(String(await refused.catch(String)), "UUID");
});

for (const way of ["with", "without"] as const) {
  qemuTest("10.0", `saves a file ${way} multifd, which is read and sent on`, async (lab) => {
    const source = await lab.running(V10);
    await saveToFile(source, lab.path("vm.mapped-ram"), way === "with");
    const file = lab.path("vm.mapped-ram");
    const report = JSON.parse(await multifd(lab, "bun", "inspect", file, "--json"));
    assertEquals(report.capabilities, ["mapped-ram"]);
    assertEquals(report.machine, "pc-q35-10.0");
    const made = JSON.parse(
      await multifd(lab, "deno", "convert", file, "--out", lab.path("vm"), "--json"),
    );
    assertEquals(
      made.blocks.map(({ sha256 }: { sha256: string }) => sha256),
      report.blocks.map(({ sha256 }: { sha256: string }) => sha256),
    );
    assertEquals(imageHash(lab.path("vm")), await source.memoryHash(lab.path("memory")));
    const target = await lab.restore("vm.mapped-ram", "deno", V10, { channels: 4 });
    await target.guestGoesOn();
    countRounds(source.console + target.console);
  });
}

qemuTest("10.0", "loads a file that convert made of its own", async (lab) => {
  const source = await lab.running(V10);
  await saveToFile(source, lab.path("first.mapped-ram"), true);
  const again = ["--format", "mapped-ram", "--out", lab.path("vm.mapped-ram")];
  await multifd(lab, "deno", "convert", lab.path("first.mapped-ram"), ...again);
  const { qemu, status } = await load(lab, "vm.mapped-ram", V10, { multifd: false });
  assertEquals(status, "completed");
  await qemu.guestGoesOn();
  countRounds(source.console + qemu.console);
});
