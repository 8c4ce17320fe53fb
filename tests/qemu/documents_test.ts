/** The documents' commands and the examples that need a QEMU, as they are written. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import path from "node:path";
import process from "node:process";
import { root } from "../_tools.ts";
import { documents, fencesOf } from "../docs/_fences.ts";
import { Shell } from "../docs/_shell.ts";
import { qemuCommand } from "./fetch.ts";
import { qemuTest } from "./_lab.ts";

for (const file of documents()) {
  const fences = fencesOf(file).filter(({ info }) => info[0] === "sh" && info[1] === "qemu");
  if (fences.length === 0) continue;
  qemuTest("10.0", `commands of ${file}`, async (lab) => {
    const { command, args, env } = qemuCommand("10.0");
    const variables = Object.entries(env).map(([name, value]) => `${name}='${value}'`);
    const qemu = ["env", ...variables, command, ...args, "-accel", "tcg"];
    const shell = new Shell(lab.directory, { "qemu-system-x86_64": qemu });
    try {
      for (const { text } of fences) await shell.run(text);
    } finally {
      shell.close();
    }
  });
}

function example(name: string, ...args: string[]): string {
  const script = path.join(root, "examples", name);
  const options = { cwd: root, encoding: "utf8", timeout: 60_000 } as const;
  const deno = ["run", "-A", "--no-check", script, ...args];
  const { status, stdout, stderr } = spawnSync(process.execPath, deno, options);
  assert.equal(status, 0, stderr);
  return stdout;
}

qemuTest("10.0", "examples/save_vm.ts and restore_vm.ts", async (lab) => {
  const source = await lab.running({ version: "10.0" });
  const saved = example("save_vm.ts", source.qmpSocket, lab.path("vm"));
  assert.match(saved, /^pc-q35-10\.0, \d+ bytes on the wire$/m);
  assert.match(saved, /the guest is running$/m);
  assert.match(saved, /^\d+ RAM blocks verified, \d+ devices$/m);
  await source.guestGoesOn();

  const target = await lab.waiting({ version: "10.0" });
  const restored = example("restore_vm.ts", lab.path("vm"), target.qmpSocket);
  assert.match(restored, /the guest is running$/m);
  await target.guestGoesOn();
});
