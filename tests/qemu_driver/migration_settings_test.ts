import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { PeerClosedError, QemuError, TimedOutError } from "../../mod.ts";
import {
  capabilityChanges,
  MigrationSettings,
  parameterChanges,
  qemuMethods,
} from "../../src/qemu/migration_settings.ts";
import { QmpClient } from "../../src/qemu/qmp.ts";
import { FakeQemu, refusal } from "./_fake_qemu.ts";

const on = (capability: string) => ({ capability, state: true });
const off = (capability: string) => ({ capability, state: false });

test("capabilityChanges() switches multifd and return-path on and what changes the stream off", () => {
  const current = [
    off("multifd"),
    on("return-path"),
    on("xbzrle"),
    off("compress"),
    on("validate-uuid"),
    on("postcopy-ram"),
    on("x-from-a-later-qemu"),
    on("events"),
  ];
  const { to, back } = capabilityChanges(current);
  const names = ["xbzrle", "postcopy-ram", "x-from-a-later-qemu"];
  assertEquals(to, [on("multifd"), ...names.map(off)]);
  assertEquals(back, [off("multifd"), ...names.map(on)]);
});

test("capabilityChanges() refuses a QEMU without multifd", () => {
  assertThrows(() => capabilityChanges([off("return-path")]), QemuError, "no capability multifd");
});

test("parameterChanges() sets what differs, and back only what was there", () => {
  const current = { "multifd-channels": 2, "multifd-compression": "none", "max-bandwidth": 7 };
  const wanted = { method: "zstd", level: 3, channels: 2, maxBandwidth: 9 };
  assertEquals(parameterChanges(current, wanted), {
    to: { "multifd-compression": "zstd", "multifd-zstd-level": 3, "max-bandwidth": 9 },
    back: { "multifd-compression": "none", "max-bandwidth": 7 },
  });
});

test("parameterChanges() changes nothing that nobody wants", () => {
  const current = { "multifd-channels": 8, "tls-creds": "", mode: "normal" };
  assertEquals(parameterChanges(current, {}), { to: {}, back: {} });
});

test("parameterChanges() turns TLS and a CPR mode off", () => {
  const current = { "tls-creds": "tls0", mode: "cpr-reboot" };
  assertEquals(parameterChanges(current, {}), {
    to: { "tls-creds": "", mode: "normal" },
    back: current,
  });
});

async function connect(qemu: FakeQemu): Promise<QmpClient> {
  return await QmpClient.connect(qemu.socket, { timeout: 10_000 });
}

test("MigrationSettings puts back what it changed, the newest first", async () => {
  const qemu = await FakeQemu.start((qemu) => {
    for (const name of ["xbzrle", "zero-copy-send", "auto-converge"]) {
      qemu.capabilities.set(name, true);
    }
    qemu.parameters["tls-creds"] = "tls0";
  });
  const before = structuredClone(qemu.settings);
  const qmp = await connect(qemu);
  const settings = new MigrationSettings(qmp);
  const now = await settings.apply({ method: "zlib", level: 9, channels: 4 });
  assertEquals(now.capabilities, ["auto-converge", "return-path", "multifd"]);
  assertEquals(now.parameters["multifd-channels"], 4);
  assertEquals(qemu.settings.on, now.capabilities);
  assertEquals(await settings.putBack(1000), undefined);
  assertEquals(qemu.settings, before);
  assertEquals(qemu.commands.filter(([name]) => name.startsWith("migrate-set")), [
    ["migrate-set-capabilities", {
      capabilities: [off("xbzrle"), on("return-path"), on("multifd"), off("zero-copy-send")],
    }],
    ["migrate-set-parameters", {
      "multifd-compression": "zlib",
      "multifd-zlib-level": 9,
      "multifd-channels": 4,
      "tls-creds": "",
    }],
    ["migrate-set-parameters", {
      "multifd-compression": "none",
      "multifd-zlib-level": 1,
      "multifd-channels": 2,
      "tls-creds": "tls0",
    }],
    ["migrate-set-capabilities", {
      capabilities: [on("xbzrle"), off("return-path"), off("multifd"), on("zero-copy-send")],
    }],
  ]);
  const count = qemu.commands.length;
  assertEquals(await settings.putBack(1000), undefined);
  assertEquals(qemu.commands.length, count);
  qmp.close();
  await qemu.stop();
});

test("MigrationSettings sets nothing where nothing differs", async () => {
  const qemu = await FakeQemu.start((qemu) => {
    for (const name of ["multifd", "return-path"]) qemu.capabilities.set(name, true);
  });
  const qmp = await connect(qemu);
  const settings = new MigrationSettings(qmp);
  await settings.apply({ channels: 2, method: "none" });
  assertEquals(await settings.putBack(1000), undefined);
  assertEquals(qemu.changes, []);
  qmp.close();
  await qemu.stop();
});

test("MigrationSettings lists the methods of a QEMU that does not have one", async () => {
  const qemu = await FakeQemu.start();
  const before = structuredClone(qemu.settings);
  const qmp = await connect(qemu);
  const settings = new MigrationSettings(qmp);
  const error = await assertRejects(() => settings.apply({ method: "qatzip" }), QemuError);
  assertEquals(error.summary, "QEMU 10.0.2 has no method qatzip; it has: none, zlib, zstd");
  assertEquals(
    error.facts.desc,
    "Parameter 'multifd-compression' does not accept value 'qatzip'",
  );
  await settings.putBack(1000);
  assertEquals(qemu.settings, before);
  qmp.close();
  await qemu.stop();
});

test("MigrationSettings keeps QEMU's words where the method is not to blame", async () => {
  const qemu = await FakeQemu.start((qemu) => {
    qemu.handlers.set("migrate-set-parameters", () => refusal("out of memory"));
  });
  const qmp = await connect(qemu);
  const settings = new MigrationSettings(qmp);
  const error = await assertRejects(() => settings.apply({ method: "zlib" }), QemuError);
  assertEquals(error.facts.desc, "out of memory");
  assertEquals(await settings.putBack(1000), undefined);
  assertEquals(qemu.settings.on, []);
  qmp.close();
  await qemu.stop();
});

test("MigrationSettings puts back what it does not know to be refused", async () => {
  const qemu = await FakeQemu.start((qemu) => {
    // done, but the answer is lost
    qemu.handlers.set("migrate-set-capabilities", async (_, usual) => {
      qemu.handlers.delete("migrate-set-capabilities");
      await usual();
      return undefined;
    });
  });
  const qmp = await QmpClient.connect(qemu.socket, { timeout: 100 });
  const settings = new MigrationSettings(qmp);
  await assertRejects(() => settings.apply({}), TimedOutError);
  assertEquals(qemu.settings.on, ["return-path", "multifd"]);
  assertEquals(await settings.putBack(1000), undefined);
  assertEquals(qemu.settings.on, []);
  qmp.close();
  await qemu.stop();
});

test("putBack() tells why it cannot, but not of a QEMU that is gone", async () => {
  const qemu = await FakeQemu.start();
  const qmp = await connect(qemu);
  const settings = new MigrationSettings(qmp);
  await settings.apply({});
  qemu.handlers.set("migrate-set-capabilities", () => refusal("not now"));
  assert((await settings.putBack(1000))?.includes("not now"));
  const gone = new MigrationSettings(qmp);
  qemu.handlers.clear();
  await gone.apply({ channels: 5 });
  qemu.drop();
  await assertRejects(() => qmp.execute("query-status"), PeerClosedError);
  assertEquals(await gone.putBack(1000), undefined);
  await qemu.stop();
});

test("qemuMethods() finds none in a schema that it does not know", async () => {
  const qemu = await FakeQemu.start();
  const qmp = await connect(qemu);
  assertEquals(await qemuMethods(qmp), ["none", "zlib", "zstd"]);
  qemu.handlers.set("query-qmp-schema", () => ({ return: [{ name: "other" }] }));
  assertEquals(await qemuMethods(qmp), []);
  qmp.close();
  await qemu.stop();
});
