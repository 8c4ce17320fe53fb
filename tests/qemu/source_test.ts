/** QEMU sends, as its own tests of multifd have it: what recv takes, and what it refuses. */
import fs from "node:fs";
import { assertEquals, assertMatch } from "@std/assert";
import { VERSIONS } from "./fetch.ts";
import { imageHash, type Lab, qemuTest, type TransferOptions } from "./_lab.ts";
import { type Qemu, type QemuOptions, SLOWLY } from "./_qemu.ts";
import { within } from "./_wait.ts";

/** What is asked of a directory's manifest. */
interface Manifest {
  machine: string;
  uuid: string;
  blocks: { sha256: string }[];
  counters: { duplicate: number };
}

const hashOf = ({ sha256 }: { sha256: string }): string => sha256;

/** Saves a paused guest, and compares its memory with what QEMU itself reads. */
async function saveAndCompare(
  lab: Lab,
  qemuOptions: QemuOptions,
  options: TransferOptions = {},
): Promise<Manifest> {
  const source = await lab.running(qemuOptions);
  await source.execute("stop");
  const memory = await source.memoryHash(lab.path("memory"));
  await lab.save(source, "vm", "deno", options);
  assertEquals(imageHash(lab.path("vm")), memory);
  return JSON.parse(fs.readFileSync(lab.path("vm/migration.json"), "utf8"));
}

/** Has a receiver refuse a running guest; what it says. The guest goes on. */
async function refuse(
  lab: Lab,
  source: Qemu,
  exitCode: number,
  options: TransferOptions,
): Promise<string> {
  const recv = await lab.recv("bun", "--out", lab.path("vm"), ...options.args ?? []);
  await source.configure(options);
  await source.migrate(recv.uri);
  const { code, stderr } = await within("recv ends", recv.running.outcome);
  assertEquals(code, exitCode, stderr);
  assertEquals(lab.files("vm"), []);
  return stderr;
}

const V10 = { version: "10.0" } as const;

for (const version of VERSIONS) {
  qemuTest(version, "saved over a unix socket", async (lab) => {
    const args = ["--listen", `unix:${lab.path("recv.sock")}`];
    await saveAndCompare(lab, { version }, { args });
  });

  qemuTest(version, "saved without a return path", async (lab) => {
    await saveAndCompare(lab, { version }, { capabilities: { "return-path": false } });
  });

  qemuTest(version, "saved as a machine with i440fx", async (lab) => {
    const machine = `pc-i440fx-${version}`;
    const manifest = await saveAndCompare(lab, { version, machine }, { method: "zlib" });
    assertEquals(manifest.machine, machine);
  });

  qemuTest(version, "saved with its uuid, which is validated", async (lab) => {
    const uuid = "4d554c54-4946-4421-8000-000000000001";
    const manifest = await saveAndCompare(
      lab,
      { version, args: ["-uuid", uuid] },
      { capabilities: { "validate-uuid": true } },
    );
    assertEquals(manifest.uuid, uuid);
  });

  qemuTest(version, "saved without the shim", async (lab) => {
    const args = ["--transport", "runtime", "--engine", "builtin"];
    await saveAndCompare(lab, { version }, { method: "zstd", channels: 4, args });
  });

  qemuTest(version, "another method than agreed is refused", async (lab) => {
    const source = await lab.running({ version });
    const said = await refuse(lab, source, 3, { method: "none", args: ["--method", "zlib"] });
    assertMatch(said, /expected zlib, received none/);
    assertEquals(await source.migrated(), "failed");
    await source.guestGoesOn();
  });

  qemuTest(version, "more channels than agreed are refused", async (lab) => {
    const source = await lab.running({ version });
    const said = await refuse(lab, source, 3, { channels: 4, args: ["--channels", "2"] });
    assertMatch(said, /too high an id/);
    assertEquals(await source.migrated(), "failed");
    await source.guestGoesOn();
  });

  qemuTest(version, "fewer channels than agreed are waited for, and not for ever", async (lab) => {
    const source = await lab.running({ version });
    const args = ["--channels", "4", "--timeout", "2"];
    const said = await refuse(lab, source, 1, { channels: 2, args });
    assertMatch(said, /Nothing moved for 2 s.*2 of 4 channels/);
    assertEquals(await source.migrated(), "failed");
    await source.guestGoesOn();
  });

  qemuTest(version, "a source that dies leaves nothing", async (lab) => {
    const source = await lab.running({ version });
    const recv = await lab.recv("deno", "--out", lab.path("vm"));
    await source.configure({ parameters: SLOWLY });
    await source.migrate(recv.uri);
    await source.moves();
    await source.kill();
    const { code, stderr } = await within("recv ends", recv.running.outcome);
    assertEquals(code, 3, stderr);
    // the kernel resets what a process had not read when it was killed
    assertMatch(stderr, /Peer (closed|dropped .* \(ECONNRESET\))/);
    assertEquals(lab.files("vm"), []);
  });

  qemuTest(version, "a source without multifd is refused", async (lab) => {
    const source = await lab.running({ version });
    const said = await refuse(lab, source, 3, { capabilities: { multifd: false } });
    assertMatch(said, /no multifd channels/);
    assertEquals(await source.migrated(), "failed");
    await source.guestGoesOn();
  });
}

for (const detection of ["none", "legacy", "multifd"]) {
  qemuTest("10.0", `saved with zero-page-detection ${detection}`, async (lab) => {
    const parameters = { "zero-page-detection": detection };
    const { counters } = await saveAndCompare(lab, V10, { method: "zstd", parameters });
    assertEquals(counters.duplicate > 0, detection !== "none");
  });
}

qemuTest("10.0", "saved with its address as channels", async (lab) => {
  await saveAndCompare(lab, V10, { asChannels: true });
});

qemuTest("10.0", "saved with a sync after each section, and recorded", async (lab) => {
  const args = ["-global", "migration.multifd-flush-after-each-section=on"];
  const recording = lab.path("recording");
  const { blocks } = await saveAndCompare(lab, { ...V10, args }, {
    method: "zlib",
    args: ["--record", recording],
  });
  const { outcome } = lab.multifd("bun", "inspect", recording, "--json");
  const { code, stdout, stderr } = await within("inspect ends", outcome);
  assertEquals(code, 0, stderr);
  const inspected = JSON.parse(stdout);
  assertEquals(inspected.sync, "section");
  assertEquals(inspected.blocks.map(hashOf), blocks.map(hashOf));
});
