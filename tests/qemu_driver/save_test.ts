import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  CancelledError,
  ImageError,
  MemoryImage,
  MultifdError,
  OptionError,
  PeerClosedError,
  ProtocolError,
  QemuError,
  type QemuEvent,
  type SavedVm,
  type SaveOptions,
  saveVm,
  TimedOutError,
} from "../../mod.ts";
import { temporaryDirectory, TRANSPORTS } from "../migration/_migrate.ts";
import { FakeQemu, refusal } from "./_fake_qemu.ts";

interface Place {
  qemu: FakeQemu;
  into: string;
  save(options?: Partial<SaveOptions>): Promise<SavedVm>;
}

/** Runs with a fake QEMU; afterwards its settings are as before, and no partial image is left. */
async function withQemu(
  change: (qemu: FakeQemu) => void,
  run: (place: Place) => Promise<void>,
): Promise<void> {
  const qemu = await FakeQemu.start(change);
  const before = structuredClone(qemu.settings);
  const directory = temporaryDirectory();
  const into = path.join(directory, "vm");
  const save = (options: Partial<SaveOptions> = {}): Promise<SavedVm> =>
    saveVm({ qmp: qemu.socket, into, timeout: 10_000, transport: "runtime", ...options });
  try {
    await run({ qemu, into, save });
    assertEquals(qemu.settings, before);
    assertEquals(fs.readdirSync(directory).filter((name) => name !== "vm"), []);
  } finally {
    await qemu.stop();
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

const nothing = (): void => {};

/** What a save without a method does, in order. */
const STEPS = [
  "qmp_capabilities",
  "query-status",
  "query-migrate",
  "query-migrate-capabilities",
  "migrate-set-capabilities",
  "query-migrate-parameters",
  "migrate",
];

test("saveVm() saves a running guest, which is paused then", async () => {
  await withQemu(nothing, async ({ qemu, into, save }) => {
    const events: QemuEvent[] = [];
    const saved = await save({ onEvent: (event) => events.push(event) });
    assertEquals(saved.guest, { before: "running", after: "postmigrate" });
    assertEquals([saved.qemu.status, saved.qemu.downtime], ["completed", 3]);
    assertEquals([saved.received.channels, saved.received.method], [2, "none"]);
    assertEquals(saved.qemuVersion, "10.0.2");
    const ram = fs.readFileSync(path.join(into, "pc.ram"));
    assertEquals(ram.compare(qemu.image.memory.get("pc.ram")!), 0);
    const { source } = JSON.parse(fs.readFileSync(path.join(into, "migration.json"), "utf8"));
    assertEquals(source, { "qemu-version": "10.0.2", capabilities: ["return-path", "multifd"] });
    assertEquals(qemu.commands.slice(0, STEPS.length).map(([name]) => name), STEPS);
    assertEquals(qemu.changes, [
      "migrate-set-capabilities",
      "migrate",
      "migrate-set-capabilities",
    ]);
    assert(events.some((event) => event.type === "qemu" && event.info.status === "active"));
  });
});

test("saveVm() sets what it is told to, and sets it back", async () => {
  await withQemu(nothing, async ({ qemu, save }) => {
    const { received } = await save({
      method: "zstd",
      level: 3,
      channels: 3,
      maxBandwidth: 2 ** 40,
    });
    assertEquals([received.channels, received.method], [3, "zstd"]);
    assertEquals(qemu.commands.filter(([name]) => name === "migrate-set-parameters"), [
      ["migrate-set-parameters", {
        "multifd-compression": "zstd",
        "multifd-zstd-level": 3,
        "multifd-channels": 3,
        "max-bandwidth": 2 ** 40,
      }],
      ["migrate-set-parameters", {
        "multifd-compression": "none",
        "multifd-zstd-level": 1,
        "multifd-channels": 2,
        "max-bandwidth": 134217728,
      }],
    ]);
  });
});

test("saveVm() takes QEMU's own number of channels and method", async () => {
  const change = (qemu: FakeQemu): void => {
    Object.assign(qemu.parameters, { "multifd-channels": 5, "multifd-compression": "zlib" });
  };
  await withQemu(change, async ({ save }) => {
    const { received } = await save();
    assertEquals([received.channels, received.method], [5, "zlib"]);
  });
});

test("saveVm() lets a guest that was running go on", async () => {
  await withQemu(nothing, async ({ qemu, save }) => {
    const { guest } = await save({ resume: true });
    assertEquals(guest, { before: "running", after: "running" });
    assertEquals(qemu.changes.at(-2), "cont");
  });
});

test("saveVm() leaves a guest paused that was paused", async () => {
  await withQemu((qemu) => qemu.guest = "paused", async ({ qemu, save }) => {
    const { guest } = await save({ resume: true });
    assertEquals(guest, { before: "paused", after: "postmigrate" });
    assert(!qemu.changes.includes("cont"));
  });
});

for (const transport of TRANSPORTS) {
  test(`saveVm() over a unix socket on ${transport} sockets, which leaves no name`, async () => {
    await withQemu(nothing, async ({ qemu, into, save }) => {
      const image = new MemoryImage();
      const listen = `unix:${path.dirname(into)}/migration.sock`;
      const { received } = await save({ listen, into: image, transport });
      assertEquals(received.transport, transport);
      assertEquals(qemu.commands.find(([name]) => name === "migrate")?.[1], { uri: listen });
      assertEquals(image.memory.get("pc.ram"), qemu.image.memory.get("pc.ram"));
    });
  });
}

const STATES = [
  "inmigrate",
  "finish-migrate",
  "save-vm",
  "restore-vm",
  "postmigrate",
  "colo",
  "internal-error",
];
for (const state of STATES) {
  test(`saveVm() refuses a guest that is ${state}`, async () => {
    await withQemu((qemu) => qemu.guest = state, async ({ qemu, into, save }) => {
      await assertRejects(() => save(), QemuError, `Cannot save a guest that is ${state}: `);
      assertEquals(qemu.changes, []);
      assert(!fs.existsSync(into));
    });
  });
}

for (const status of ["setup", "active", "postcopy-active", "pre-switchover", "cancelling"]) {
  test(`saveVm() refuses a QEMU whose migration is ${status}`, async () => {
    await withQemu((qemu) => qemu.migration = { status }, async ({ qemu, save }) => {
      await assertRejects(() => save(), QemuError, `migrating its guest already (${status})`);
      assertEquals(qemu.changes, []);
    });
  });
}

test("saveVm() checks its options before it connects", async () => {
  const options = { qmp: "/nowhere/qmp.sock", into: "/nowhere/vm" };
  for (const wrong of [{ channels: 0 }, { method: "lz4" }, { level: 3 }]) {
    await assertRejects(() => saveVm({ ...options, ...wrong }), OptionError);
  }
  await assertRejects(() => saveVm({ ...options, method: "zstd", level: 99 }), OptionError);
});

test("saveVm() lists QEMU's methods where it does not have one", async () => {
  await withQemu(nothing, async ({ qemu, save }) => {
    const error = await assertRejects(() => save({ method: "qpl" }), QemuError);
    assertMatch(error.message, /no method qpl; it has: none, zlib, zstd.*the guest is running/);
    assert(!qemu.changes.includes("migrate"));
  });
});

test("saveVm() throws QEMU's words when it refuses to migrate", async () => {
  const desc = "The node is not migratable";
  const change = (qemu: FakeQemu): void => void qemu.handlers.set("migrate", () => refusal(desc));
  await withQemu(change, async ({ into, save }) => {
    const error = await assertRejects(() => save(), QemuError);
    assertEquals([error.facts.desc, error.facts.guest], [desc, "running"]);
    assert(!fs.existsSync(into));
  });
});

test("saveVm() waits for a QEMU that still clears up after its last migration", async () => {
  let refusals = 2;
  const change = (qemu: FakeQemu): void => {
    qemu.handlers.set("migrate", (_, usual) => {
      return refusals-- > 0 ? refusal("duplicate yank instance") : usual();
    });
  };
  await withQemu(change, async ({ qemu, save }) => {
    await save();
    assertEquals(qemu.changes.filter((name) => name === "migrate").length, 3);
  });
});

for (const outcome of ["is saved", "fails"]) {
  test(`saveVm() puts settings back once QEMU has put a migration away that ${outcome}`, async () => {
    let looks = 2;
    const change = (qemu: FakeQemu): void => {
      qemu.handlers.set("query-yank", () => {
        const chardev = { type: "chardev", id: "monitor" };
        return { return: looks-- > 0 ? [chardev, { type: "migration" }] : [chardev] };
      });
    };
    await withQemu(change, async ({ qemu, save }) => {
      if (outcome === "is saved") await save();
      else await assertRejects(() => save({ maxRam: 4096 }), ProtocolError);
      const last = qemu.commands.map(([name]) => name).slice(-4);
      assertEquals(last, ["query-yank", "query-yank", "query-yank", "migrate-set-capabilities"]);
    });
  });
}

test("saveVm() does not start a QEMU's migration once it is told to end", async () => {
  const cancel = new AbortController();
  const change = (qemu: FakeQemu): void => {
    qemu.handlers.set("migrate", () => {
      cancel.abort();
      return refusal("duplicate yank instance");
    });
  };
  await withQemu(change, async ({ qemu, save }) => {
    await assertRejects(() => save({ signal: cancel.signal }), CancelledError);
    assertEquals(qemu.changes.filter((name) => name === "migrate").length, 1);
  });
});

test("saveVm() throws QEMU's words when its migration fails", async () => {
  const desc = "Unable to write to socket: No route to host";
  const change = (qemu: FakeQemu): void => {
    qemu.handlers.set("migrate", () => {
      qemu.migration = { status: "failed", "error-desc": desc };
      return { return: {} };
    });
  };
  await withQemu(change, async ({ into, save }) => {
    const error = await assertRejects(() => save(), QemuError);
    assertEquals(error.facts.desc, desc);
    assertMatch(error.message, /QEMU says failed, Unable to write.*the guest is running/);
    assert(!fs.existsSync(into));
  });
});

test("saveVm() prefers QEMU's reason to a connection that was dropped", async () => {
  const change = (qemu: FakeQemu): void => {
    // the fake's sender refuses the image after it has connected, and drops everything
    qemu.image = new MemoryImage({ "pc.ram": new Uint8Array(4096) });
    qemu.image.verifyUnchanged = () => {
      throw new ImageError("the guest's RAM went away");
    };
  };
  await withQemu(change, async ({ into, save }) => {
    const error = await assertRejects(() => save(), QemuError);
    assertMatch(error.facts.desc!, /the guest's RAM went away/);
    assert(!fs.existsSync(into));
  });
});

test("saveVm() throws its own error, and cancels in QEMU, when it fails itself", async () => {
  await withQemu(nothing, async ({ qemu, into, save }) => {
    const error = await assertRejects(() => save({ maxRam: 4096 }), ProtocolError);
    assertEquals(error.facts.guest, "running");
    assert(!fs.existsSync(into));
    await qemu.running;
    assertEquals(qemu.guest, "running");
  });
});

test("saveVm() does not have QEMU migrate where the name is taken", async () => {
  await withQemu(nothing, async ({ qemu, into, save }) => {
    fs.mkdirSync(into);
    fs.writeFileSync(path.join(into, "file"), "");
    await assertRejects(() => save(), ImageError, "not empty");
    assert(!qemu.changes.includes("migrate"));
    assertEquals(fs.readdirSync(into), ["file"]);
  });
});

for (const [at, step] of STEPS.entries()) {
  test(`saveVm() ends when QEMU goes away at ${step}`, async () => {
    const change = (qemu: FakeQemu): void => {
      qemu.handlers.set(step, (_, usual) => {
        if (qemu.commands.length < at + 1) return usual();
        qemu.drop();
        return undefined;
      });
    };
    const qemu = await FakeQemu.start(change);
    const directory = temporaryDirectory();
    const into = path.join(directory, "vm");
    await assertRejects(
      () => saveVm({ qmp: qemu.socket, into, timeout: 10_000 }),
      PeerClosedError,
      step,
    );
    assertEquals(fs.readdirSync(directory), []);
    await qemu.stop();
    fs.rmSync(directory, { recursive: true });
  });
}

for (const type of ["listening", "setup", "sync", "finishing"]) {
  test(`saveVm() ends when QMP is lost at the event ${type}, and tells what it leaves`, async () => {
    const qemu = await FakeQemu.start();
    const directory = temporaryDirectory();
    const into = path.join(directory, "vm");
    const onEvent = (event: QemuEvent): void => void (event.type === type && qemu.drop());
    const error = await assertRejects(
      () => saveVm({ qmp: qemu.socket, into, timeout: 10_000, onEvent }),
      PeerClosedError,
      "QEMU closed its QMP connection",
    );
    const isKept = error.message.includes("the image is complete nevertheless");
    assertEquals(fs.readdirSync(directory), isKept ? ["vm"] : []);
    await qemu.running;
    assertEquals(qemu.guest, isKept ? "postmigrate" : "running");
    await qemu.stop();
    fs.rmSync(directory, { recursive: true });
  });
}

for (const step of STEPS.slice(1)) {
  test(`saveVm() is cancelled at ${step}`, async () => {
    const controller = new AbortController();
    const change = (qemu: FakeQemu): void => {
      qemu.handlers.set(step, (_, usual) => {
        controller.abort(new Error("SIGINT"));
        return usual();
      });
    };
    await withQemu(change, async ({ qemu, into, save }) => {
      const { signal } = controller;
      await assertRejects(() => save({ signal }), CancelledError, "SIGINT");
      assert(!fs.existsSync(into));
      await qemu.running;
      assertEquals(qemu.guest, "running");
    });
  });
}

for (const type of ["listening", "setup", "sync", "finishing"]) {
  test(`saveVm() is cancelled at the event ${type}, and can be tried again`, async () => {
    await withQemu(nothing, async ({ qemu, into, save }) => {
      const controller = new AbortController();
      const onEvent = (event: QemuEvent): void => {
        if (event.type === type) controller.abort(new Error("SIGINT"));
      };
      const { signal } = controller;
      const error = await assertRejects(() => save({ signal, onEvent }), CancelledError, "SIGINT");
      assertEquals(error.facts.guest, "running");
      assert(!fs.existsSync(into));
      await qemu.running;
      assertEquals((await save({ resume: true })).guest.after, "running");
      assert(fs.existsSync(path.join(into, "migration.json")));
    });
  });
}

test("saveVm() keeps a complete image that QEMU fails after", async () => {
  const change = (qemu: FakeQemu): void => {
    qemu.complete = () => qemu.fail("lost its disk");
  };
  await withQemu(change, async ({ into, save }) => {
    const error = await assertRejects(() => save(), QemuError);
    assertMatch(error.message, /lost its disk; the image is complete nevertheless/);
    assert(fs.existsSync(path.join(into, "migration.json")));
  });
});

test("saveVm() keeps a complete image when QEMU does not tell any more how its guest is", async () => {
  const change = (qemu: FakeQemu): void => {
    const complete = qemu.complete.bind(qemu);
    qemu.complete = (figures) => {
      qemu.handlers.set("query-status", () => refusal("no more"));
      complete(figures);
    };
  };
  await withQemu(change, async ({ into, save }) => {
    const error = await assertRejects(() => save(), QemuError);
    assertMatch(error.message, /no more; the image is complete nevertheless/);
    assert(fs.existsSync(path.join(into, "migration.json")));
  });
});

test("saveVm() does not wait for ever for QEMU to say that it is done", async () => {
  const change = (qemu: FakeQemu): void => {
    qemu.complete = () => {
      qemu.migration = { status: "device" };
    };
  };
  await withQemu(change, async ({ into, save }) => {
    const error = await assertRejects(() => save({ timeout: 500 }), TimedOutError);
    assertMatch(error.message, /did not say for 0.5 s.*; the image is complete nevertheless/);
    assert(fs.existsSync(path.join(into, "migration.json")));
  });
});

test("saveVm() tells of a guest that does not go on, and keeps the image", async () => {
  const change = (qemu: FakeQemu): void => {
    qemu.handlers.set("cont", () => refusal("Resetting the Virtual Machine is required"));
  };
  await withQemu(change, async ({ into, save }) => {
    const error = await assertRejects(() => save({ resume: true }), QemuError);
    assertMatch(error.message, /Resetting.*complete nevertheless.*postmigrate, was running/);
    assert(fs.existsSync(path.join(into, "migration.json")));
  });
});

test("saveVm() warns where it cannot put the settings back", async () => {
  const qemu = await FakeQemu.start((qemu) => {
    qemu.handlers.set("migrate-set-capabilities", (_, usual) => {
      return qemu.guest === "postmigrate" ? refusal("not now") : usual();
    });
  });
  const warnings: string[] = [];
  const saved = await saveVm({
    qmp: qemu.socket,
    into: new MemoryImage(),
    onEvent: (event) => event.type === "warning" && warnings.push(event.message),
  });
  assertEquals(saved.guest.after, "postmigrate");
  assertEquals(warnings.length, 1);
  assertMatch(warnings[0]!, /cannot put QEMU's migration settings back.*not now/);
  await qemu.stop();
});

test("saveVm() ends where QEMU stops answering", async () => {
  const qemu = await FakeQemu.start();
  const error = await assertRejects(
    () =>
      saveVm({
        qmp: qemu.socket,
        into: new MemoryImage(),
        timeout: 500,
        onEvent: (event) => {
          if (event.type !== "setup") return;
          for (const [name] of qemu.commands) qemu.handlers.set(name, () => undefined);
          qemu.handlers.set("migrate_cancel", () => undefined);
        },
      }),
    MultifdError,
  );
  assertMatch(error.message, /did not answer query-migrate|did not say/);
  await qemu.stop();
});
