/** QEMU receives, as its own tests of multifd have it: what send can do, and how it fails. */
import fs from "node:fs";
import process from "node:process";
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Running } from "../cli/_command.ts";
import { type Version, VERSIONS } from "./fetch.ts";
import { countRounds } from "./_guest.ts";
import { type Lab, qemuTest, sendArgs, type TransferOptions } from "./_lab.ts";
import type { Qemu, QemuOptions } from "./_qemu.ts";
import { within } from "./_wait.ts";

const V10 = { version: "10.0" } as const;

/** Saves a running guest and restores it as told; it counts on. */
async function saveAndRestore(
  lab: Lab,
  qemuOptions: QemuOptions,
  options: TransferOptions = {},
): Promise<void> {
  const source = await lab.running(qemuOptions);
  await lab.save(source, "vm", "bun", {});
  const target = await lab.restore("vm", "deno", qemuOptions, options);
  await target.guestGoesOn();
  countRounds(source.console + target.console);
}

const UUID = "4d554c54-4946-4421-8000-000000000001";
const OTHER_UUID = "4d554c54-4946-4421-8000-000000000002";

const NO_UUID = "00000000-0000-0000-0000-000000000000";

/** A destination that cannot take a VM. */
interface Mismatch {
  name: string;
  /** More arguments of the destination. */
  qemu?: string[];
  /** How the destination is configured. */
  there?: TransferOptions;
  /** What send is told that differs. */
  here?: TransferOptions;
  /** What send says. */
  says: RegExp;
}

/** The destination closes its connections, any of which tells first, or is gone before the last. */
const LEFT =
  /Peer dropped (main )?channel|Destination closed the main channel|Cannot connect channel \d/;
const LEFT_OR_FAILED = new RegExp(`${LEFT.source}|Destination failed to take the migration`);

const MISMATCHES: Mismatch[] = [
  { name: "another method", there: { method: "zlib" }, here: { method: "zstd" }, says: LEFT },
  { name: "a method where it has none", here: { method: "zlib" }, says: LEFT },
  { name: "no method where it has one", there: { method: "zstd" }, here: {}, says: LEFT },
  { name: "more channels", here: { channels: 4 }, says: LEFT },
  {
    name: "fewer channels",
    there: { channels: 4 },
    here: { channels: 2 },
    says: /Nothing moved for 3 s, waiting for the destination to take pages/,
  },
  { name: "another machine", here: { args: ["--machine", "isapc"] }, says: LEFT },
  { name: "less memory", qemu: ["-m", "48"], says: LEFT_OR_FAILED },
  {
    name: "another uuid, which is validated",
    qemu: ["-uuid", OTHER_UUID],
    there: { capabilities: { "validate-uuid": true } },
    says: LEFT_OR_FAILED,
  },
  { name: "a uuid where it has none", qemu: ["-uuid", NO_UUID], says: LEFT_OR_FAILED },
  {
    name: "multifd where it has none",
    there: { capabilities: { multifd: false } },
    says: LEFT_OR_FAILED,
  },
];

/** Sends a VM, with a uuid to be validated, where it cannot be restored. */
async function refuse(lab: Lab, version: Version, mismatch: Mismatch): Promise<void> {
  const { qemu = [], there = {}, here = there, says } = mismatch;
  const uuid = ["-uuid", UUID];
  const source = await lab.running({ version, args: uuid });
  await lab.save(source, "vm", "bun", { capabilities: { "validate-uuid": true } });
  const target = await lab.incoming({ version, args: [...uuid, ...qemu] }, there);
  const args = [...sendArgs(version, here), "--timeout", "3"];
  const { outcome } = lab.send("vm", "deno", target.address, args);
  const { code, stdout, stderr } = await within("send ends", outcome);
  assertMatch(stderr, says);
  const result = JSON.parse(stdout);
  assertEquals(result.status, "failed");
  assertEquals(code, result["error-class"] === "PeerClosedError" ? 3 : 1, stderr);
  assertEquals(target.qemu.console, "");
}

/** Starts to send a VM to a QEMU that waits for more channels before it takes a page. */
async function sendInVain(
  lab: Lab,
  version: Version,
): Promise<{ source: Qemu; target: Qemu; send: Running }> {
  const source = await lab.running({ version });
  await lab.save(source, "vm", "bun", {});
  const { qemu: target, address } = await lab.incoming({ version }, { channels: 4 });
  const reached = target.accepts(3);
  const send = lab.send("vm", "deno", address, sendArgs(version, { channels: 2 }));
  await reached;
  return { source, target, send };
}

for (const version of VERSIONS) {
  qemuTest(version, "restored over a unix socket", async (lab) => {
    await saveAndRestore(lab, { version }, { uri: `unix:${lab.path("qemu.sock")}` });
  });

  qemuTest(version, "restored as a machine with i440fx", async (lab) => {
    await saveAndRestore(lab, { version, machine: `pc-i440fx-${version}` }, { method: "zlib" });
  });

  qemuTest(version, "restored without the shim", async (lab) => {
    const args = ["--transport", "runtime", "--engine", "builtin"];
    await saveAndRestore(lab, { version }, { method: "zstd", channels: 4, args });
  });

  for (const zeroPages of ["legacy", "none"]) {
    qemuTest(version, `zero pages as ${zeroPages} overwrite what a ROM held`, async (lab) => {
      const source = await lab.running({ version });
      const args = ["--zero-pages", zeroPages];
      await lab.save(source, "vm", "bun", {});
      const [rom] = fs.readdirSync(lab.path("vm")).filter((name) => name.endsWith("vga.rom"));
      const bytes = fs.readFileSync(lab.path(`vm/${rom}`));
      assert(bytes.some((byte) => byte !== 0));
      fs.writeFileSync(lab.path(`vm/${rom}`), bytes.fill(0));
      const target = await lab.restore("vm", "deno", { version }, { args });
      await target.guestGoesOn();
      await lab.save(target, "again", "bun", {});
      assertEquals(fs.readFileSync(lab.path(`again/${rom}`)), bytes);
    });
  }

  for (const mismatch of MISMATCHES) {
    qemuTest(
      version,
      `not restored with ${mismatch.name}`,
      (lab) => refuse(lab, version, mismatch),
    );
  }

  qemuTest(version, "send ends when it is told to, and the VM can be restored", async (lab) => {
    const { source, send } = await sendInVain(lab, version);
    process.kill(send.child.pid!, "SIGINT");
    const { code, stderr } = await within("send ends", send.outcome);
    assertEquals(code, 1, stderr);
    assertMatch(stderr, /cancelled: SIGINT/);
    const target = await lab.restore("vm", "bun", { version }, {});
    await target.guestGoesOn();
    countRounds(source.console + target.console);
  });

  qemuTest(version, "send ends when QEMU dies", async (lab) => {
    const { target, send } = await sendInVain(lab, version);
    await target.kill();
    const { code, stderr } = await within("send ends", send.outcome);
    assertEquals(code, 3, stderr);
    assertMatch(stderr, LEFT);
  });
}

qemuTest("10.0", "restored with its address as channels", async (lab) => {
  await saveAndRestore(lab, V10, { asChannels: true });
});

qemuTest("10.0", "restored with a sync after each section", async (lab) => {
  const args = ["-global", "migration.multifd-flush-after-each-section=on"];
  await saveAndRestore(lab, { ...V10, args }, { args: ["--sync", "section"] });
});

qemuTest("10.0", "a guest goes from 7.2 to 10.0 and back", async (lab) => {
  const old = { version: "7.2", machine: "pc-q35-7.2" } as const;
  const first = await lab.running(old);
  await lab.save(first, "a", "bun", {});
  // syncs go by the machine type, not by QEMU's version
  const args = ["--sync", "section"];
  const second = await lab.restore("a", "bun", { ...old, version: "10.0" }, { args });
  await second.guestGoesOn();
  await lab.save(second, "b", "deno", {});
  const third = await lab.restore("b", "deno", old, {});
  await third.guestGoesOn();
  countRounds(first.console + second.console + third.console);
});
