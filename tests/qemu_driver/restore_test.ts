import fs from "node:fs";
import path from "node:path";
import { after, test } from "node:test";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  CancelledError,
  EngineUnavailableError,
  ImageError,
  MemoryImage,
  MultifdError,
  OptionError,
  ProtocolError,
  QemuError,
  type QemuEvent,
  type RestoredVm,
  type RestoreOptions,
  restoreVm,
  saveVm,
  TimedOutError,
} from "../../mod.ts";
import { migrate, temporaryDirectory } from "../migration/_migrate.ts";
import { FakeQemu, refusal } from "./_fake_qemu.ts";

const directory = temporaryDirectory();
after(() => fs.rmSync(directory, { recursive: true, force: true }));

/** A VM that was saved from the fake; all tests restore it. */
const image = path.join(directory, "vm");
const source = await FakeQemu.start();
await saveVm({ qmp: source.socket, into: image });
await source.stop();

interface Place {
  qemu: FakeQemu;
  restore(options?: Partial<RestoreOptions>): Promise<RestoredVm>;
}

/** Runs with a fake QEMU that waits for a guest; afterwards its settings are as before. */
async function withQemu(
  change: (qemu: FakeQemu) => void,
  run: (place: Place) => Promise<void>,
): Promise<void> {
  const qemu = await FakeQemu.startIncoming(change);
  const before = structuredClone(qemu.settings);
  const restore = (options: Partial<RestoreOptions> = {}): Promise<RestoredVm> =>
    restoreVm({ image, qmp: qemu.socket, timeout: 10_000, transport: "runtime", ...options });
  try {
    await run({ qemu, restore });
    assertEquals(qemu.settings, before);
  } finally {
    await qemu.stop();
  }
}

const nothing = (): void => {};

test("restoreVm() restores what saveVm() saved", async () => {
  await withQemu(nothing, async ({ qemu, restore }) => {
    const restored = await restore();
    assertEquals(restored.guest, { before: "inmigrate", after: "running" });
    assertEquals([restored.sent.method, restored.sent.channels], ["zstd", 2]);
    assertEquals([restored.qemu.status, restored.qemuVersion], ["completed", "10.0.2"]);
    assertEquals(qemu.image.memory.get("pc.ram"), source.image.memory.get("pc.ram"));
    assertEquals(qemu.changes, [
      "migrate-set-capabilities",
      "migrate-set-parameters",
      "migrate-incoming",
      "migrate-set-parameters",
      "migrate-set-capabilities",
    ]);
    assertEquals(qemu.commands.find(([name]) => name === "migrate-incoming")?.[1], {
      uri: "tcp:127.0.0.1:0",
      "exit-on-error": false,
    });
  });
});

test("restoreVm() sets what it is told to", async () => {
  await withQemu(nothing, async ({ qemu, restore }) => {
    const { sent } = await restore({ method: "zlib", channels: 5, level: 9 });
    assertEquals([sent.method, sent.channels], ["zlib", 5]);
    assertEquals(qemu.commands.find(([name]) => name === "migrate-set-parameters")?.[1], {
      "multifd-compression": "zlib",
      "multifd-channels": 5,
    });
  });
});

test("restoreVm() uses no method that QEMU does not have", async () => {
  await withQemu((qemu) => qemu.methods = ["none"], async ({ qemu, restore }) => {
    assertEquals((await restore()).sent.method, "none");
    assert(!qemu.changes.includes("migrate-set-parameters"));
  });
});

test("restoreVm() over a unix socket", async () => {
  await withQemu(nothing, async ({ qemu, restore }) => {
    const listen = `unix:${directory}/in.sock`;
    await restore({ listen });
    assertEquals(qemu.commands.find(([name]) => name === "migrate-incoming")?.[1].uri, listen);
  });
});

test("restoreVm() says what a QEMU of before 9.1 understands", async () => {
  const change = (qemu: FakeQemu): void => {
    qemu.version = { qemu: { major: 7, minor: 2, micro: 22 }, package: "Debian" };
  };
  await withQemu(change, async ({ qemu, restore }) => {
    const { sent } = await restore();
    assertEquals(qemu.commands.find(([name]) => name === "migrate-incoming")?.[1], {
      uri: "tcp:127.0.0.1:0",
    });
    // zero pages on the main channel
    const onChannels = sent.perChannel.reduce((sum, { zeroPages }) => sum + zeroPages, 0);
    assert(sent.ram.duplicate > 0);
    assertEquals(onChannels, 0);
  });
});

test("restoreVm() leaves a guest as QEMU has it", async () => {
  const change = (qemu: FakeQemu): void => {
    qemu.handlers.set("query-status", (_, usual) => {
      if (qemu.migration.status === "completed") qemu.guest = "paused";
      return usual();
    });
  };
  await withQemu(change, async ({ qemu, restore }) => {
    assertEquals((await restore()).guest.after, "paused");
    assert(!qemu.changes.includes("cont"));
  });
});

for (const state of ["running", "paused", "prelaunch", "postmigrate"]) {
  test(`restoreVm() refuses a QEMU whose guest is ${state}, and tells how to start one`, async () => {
    await withQemu((qemu) => qemu.guest = state, async ({ qemu, restore }) => {
      const error = await assertRejects(() => restore(), QemuError);
      assertMatch(error.message, new RegExp(`guest is ${state}`));
      assertMatch(error.message, /-M pc-q35-10\.0 -m 2 -incoming defer/);
      assertEquals(qemu.changes, []);
    });
  });
}

test("restoreVm() refuses a QEMU that was given an incoming migration before", async () => {
  for (const migration of [{ status: "failed" }, { "socket-address": [] }]) {
    await withQemu((qemu) => qemu.migration = migration, async ({ qemu, restore }) => {
      await assertRejects(() => restore(), QemuError, "given an incoming migration before");
      assertEquals(qemu.changes, []);
    });
  }
});

const MISFITS: [what: string, change: (qemu: FakeQemu) => void, message: RegExp][] = [
  [
    "machine type",
    (qemu) => qemu.machine = "pc-i440fx-10.0",
    /machine type is not.*expected pc-q35-10.0, received pc-i440fx-10.0; start it with -M pc-q35/,
  ],
  [
    "memory size",
    (qemu) =>
      qemu.handlers.set("query-memory-size-summary", () => ({ return: { "base-memory": 5 } })),
    /memory size is not.*expected 1228800, received 5; start it with .*-m 2 /,
  ],
  [
    "uuid",
    (qemu) => qemu.uuid = "12345678-1234-1234-1234-123456789abc",
    /uuid is not.*expected 00000000-.*, received 12345678-/,
  ],
];
for (const [what, change, message] of MISFITS) {
  test(`restoreVm() refuses another ${what} while QEMU is unspoilt`, async () => {
    await withQemu(change, async ({ qemu, restore }) => {
      const error = await assertRejects(() => restore(), QemuError);
      assertMatch(error.message, message);
      assertEquals(qemu.changes, []);
    });
  });
}

test("restoreVm() does without what QEMU does not tell", async () => {
  const change = (qemu: FakeQemu): void => {
    for (const name of ["qom-get", "query-memory-size-summary", "query-uuid"]) {
      qemu.handlers.set(name, () => ({ error: { class: "CommandNotFound", desc: "no" } }));
    }
  };
  await withQemu(change, async ({ restore }) => {
    const { sent } = await restore();
    assertEquals(sent.machine, "pc-q35-10.0");
  });
});

test("restoreVm() refuses what it cannot do while QEMU is unspoilt", async () => {
  await withQemu(nothing, async ({ qemu, restore }) => {
    await assertRejects(() => restore({ method: "zstd", level: 99 }), OptionError, "out of range");
    await assertRejects(() => restore({ channels: 256 }), OptionError, "channels");
    await assertRejects(() => restore({ method: "lz4" }), OptionError, "unknown");
    await assertRejects(
      () => restore({ method: "zlib", engine: "zstd" }),
      EngineUnavailableError,
    );
    await assertRejects(() => restore({ method: "qpl" }), QemuError, "it has: none, zlib, zstd");
    assert(!qemu.changes.includes("migrate-incoming"));
  });
});

test("restoreVm() refuses an image that is no VM", async () => {
  const options = { qmp: "/nowhere/qmp.sock" };
  await assertRejects(() => restoreVm({ ...options, image: "/nowhere" }), ImageError);
  const raw = path.join(directory, "raw");
  fs.writeFileSync(raw, new Uint8Array(4096));
  await assertRejects(() => restoreVm({ ...options, image: raw }), ImageError);
});

test("restoreVm() throws QEMU's words when QEMU fails to load", async () => {
  const change = (qemu: FakeQemu): void => {
    // QEMU has less room than the image has blocks for
    qemu.image = new MemoryImage({ "pc.ram": new Uint8Array(4096) });
  };
  await withQemu(change, async ({ restore }) => {
    const error = await assertRejects(() => restore(), QemuError);
    assertMatch(error.message, /Restoring failed: QEMU says failed.*started anew for another try/);
    assert(error.facts.desc!.length > 0);
  });
});

test("restoreVm() tells of a QEMU that ends while it loads", async () => {
  const qemu = await FakeQemu.startIncoming();
  const onEvent = (event: QemuEvent): void => void (event.type === "setup" && qemu.stop());
  const error = await assertRejects(
    () => restoreVm({ image, qmp: qemu.socket, timeout: 10_000, transport: "runtime", onEvent }),
    QemuError,
  );
  assertMatch(error.message, /QEMU ended while it loaded the guest; its reason is on its stderr/);
});

test("restoreVm() names --sync when a QEMU hangs", async () => {
  const change = (qemu: FakeQemu): void => {
    qemu.handlers.set("migrate-incoming", async (_, usual) => {
      // one SYNC more than comes: what a destination waits for that reads markers otherwise
      qemu.parameters["multifd-channels"] = 3;
      return await usual();
    });
  };
  const qemu = await FakeQemu.startIncoming(change);
  const error = await assertRejects(
    () => restoreVm({ image, qmp: qemu.socket, timeout: 1000, transport: "runtime" }),
    TimedOutError,
  );
  assertMatch(error.message, /reads sync markers otherwise: try --sync section/);
  await qemu.stop();
});

test("restoreVm() throws where QEMU does not tell its port", async () => {
  const change = (qemu: FakeQemu): void => {
    qemu.handlers.set("migrate-incoming", () => ({ return: {} }));
  };
  for (const migration of [{}, { "socket-address": 5 }, { "socket-address": [{ port: "x" }] }]) {
    await withQemu(change, async ({ qemu, restore }) => {
      qemu.handlers.set("query-migrate", () => {
        return { return: qemu.changes.includes("migrate-incoming") ? migration : {} };
      });
      await assertRejects(() => restore(), ProtocolError, "does not tell the port");
    });
  }
});

for (const step of ["query-uuid", "migrate-set-parameters", "migrate-incoming"]) {
  test(`restoreVm() ends when QEMU goes away at ${step}`, async () => {
    const qemu = await FakeQemu.startIncoming((qemu) => {
      qemu.handlers.set(step, () => {
        qemu.drop();
        return undefined;
      });
    });
    await assertRejects(
      () => restoreVm({ image, qmp: qemu.socket, timeout: 10_000 }),
      MultifdError,
      "QEMU closed its QMP connection",
    );
    await qemu.stop();
  });

  test(`restoreVm() is cancelled at ${step}`, async () => {
    const controller = new AbortController();
    const change = (qemu: FakeQemu): void => {
      qemu.handlers.set(step, (_, usual) => {
        controller.abort(new Error("SIGINT"));
        return usual();
      });
    };
    await withQemu(change, async ({ restore }) => {
      await assertRejects(
        () => restore({ signal: controller.signal }),
        CancelledError,
        "SIGINT",
      );
    });
  });
}

test("restoreVm() is cancelled while it sends", async () => {
  await withQemu(nothing, async ({ restore }) => {
    const controller = new AbortController();
    const onEvent = (event: QemuEvent): void => {
      if (event.type === "setup") controller.abort(new Error("SIGINT"));
    };
    const error = await assertRejects(
      () => restore({ signal: controller.signal, onEvent }),
      CancelledError,
    );
    assertMatch(error.message, /SIGINT; QEMU has to be started anew/);
  });
});

test("restoreVm() throws QEMU's words when it refuses to listen", async () => {
  const change = (qemu: FakeQemu): void => {
    qemu.handlers.set("migrate-incoming", () => refusal("Failed to bind socket"));
  };
  await withQemu(change, async ({ restore }) => {
    const error = await assertRejects(() => restore({ listen: "127.0.0.1:1" }), QemuError);
    assertEquals(error.facts.desc, "Failed to bind socket");
  });
});

test("send() greets with the uuid that it is told", async () => {
  const uuid = Uint8Array.from({ length: 16 }, (_, i) => i);
  const { received } = await migrate(
    new MemoryImage({ "pc.ram": new Uint8Array(4096) }),
    { uuid },
  );
  assertEquals(received.uuid, "00010203-0405-0607-0809-0a0b0c0d0e0f");
});
