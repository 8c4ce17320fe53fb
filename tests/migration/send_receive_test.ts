import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { MemoryImage } from "../../mod.ts";
import { same } from "../methods/_pages.ts";
import { guest, migrate, mixedPages } from "./_migrate.ts";

function assertSameRam(actual: MemoryImage, expected: MemoryImage): void {
  assertEquals([...actual.memory.keys()], [...expected.memory.keys()]);
  for (const [name, memory] of expected.memory) {
    assert(same(memory, actual.memory.get(name)!), name);
  }
}

for (const method of ["none", "zlib", "zstd", "qpl", "uadk", "qatzip"]) {
  // no method knows how many there are
  for (const channels of method === "zstd" ? [1, 3, 16] : [3]) {
    test(`send() to receive() moves every page with ${method} over ${channels} channels`, async () => {
      const source = guest();
      const { sent, received, image } = await migrate(source, { method, channels });
      assertSameRam(image, source);
      assertEquals([sent.method, received.method], [method, method]);
      assertEquals([sent.channels, received.channels], [channels, channels]);
      assertEquals(received.ram.normal + received.ram.duplicate, 733);
      assertEquals(received.ram.transferred, sent.ram.transferred);
      assertEquals(received.ram.multifdBytes, sent.ram.multifdBytes);
      assertEquals(received.engine, method === "none" ? "none" : "builtin");
    });
  }
  for (const pageSize of [8192, 65536]) {
    test(`send() to receive() moves pages of ${pageSize} bytes with ${method}`, async () => {
      const source = new MemoryImage({ "mach-virt.ram": mixedPages(40, pageSize, 7) });
      const { received, image } = await migrate(source, { method, pageSize });
      assertSameRam(image, source);
      assertEquals(received.ram.pageSize, pageSize);
    });
  }
}

for (const method of ["none", "zlib", "zstd", "qpl", "uadk", "qatzip"]) {
  for (const channels of method === "zstd" ? [1, 2, 16] : [2]) {
    test(`send() to receive() on native sockets, ${method} over ${channels} channels`, async () => {
      const source = guest();
      const native = { transport: "native", engine: "auto" } as const;
      const { sent, received, image } = await migrate(
        source,
        { ...native, method, channels },
        native,
      );
      assertSameRam(image, source);
      assertEquals([sent.transport, received.transport], ["native", "native"]);
      assertEquals([sent.channels, received.channels], [channels, channels]);
      assertEquals(received.ram.normal + received.ram.duplicate, 733);
      assertEquals(received.ram.transferred, sent.ram.transferred);
    });
  }
}

for (const zeroPages of ["multifd", "legacy", "none"] as const) {
  test(`send() on native sockets marks syncs per section, zero pages ${zeroPages}`, async () => {
    const source = guest();
    const native = { transport: "native", engine: "auto" } as const;
    const { image } = await migrate(source, { ...native, zeroPages, sync: "section" }, native);
    assertSameRam(image, source);
  });
}

for (const sync of ["round", "section"] as const) {
  for (const zeroPages of ["multifd", "legacy", "none"] as const) {
    test(`send() marks syncs per ${sync} with zero pages ${zeroPages}`, async () => {
      const source = guest();
      const { sent, received, image } = await migrate(source, { sync, zeroPages, channels: 2 });
      assertSameRam(image, source);
      assertEquals(received.sync, sync);
      assertEquals(received.ram.dirtySyncCount, sent.ram.dirtySyncCount);
      assertEquals(received.ram.duplicate > 0, zeroPages !== "none");
      const onChannels = received.perChannel.reduce((sum, channel) => sum + channel.zeroPages, 0);
      assertEquals(onChannels > 0, zeroPages === "multifd");
    });
  }
}

test("send() keeps zero pages off the channels for who takes syncs per section", async () => {
  for (const [sync, isOnChannels] of [["round", true], ["section", false]] as const) {
    const { received } = await migrate(guest(), { sync });
    assertEquals(received.perChannel.some(({ zeroPages }) => zeroPages > 0), isOnChannels);
    assertEquals(received.ram.duplicate > 0, true);
  }
});

test("send() takes every level of a method", async () => {
  const source = new MemoryImage({ "pc.ram": mixedPages(130, 4096, 3) });
  for (
    const [method, levels] of [["zlib", [0, 9]], ["zstd", [0, 20]], ["qatzip", [1, 9]]] as const
  ) {
    for (const level of levels) {
      const { image } = await migrate(source, { method, level });
      assertSameRam(image, source);
    }
  }
});

test("send() lets uadk compress only when told", async () => {
  const source = new MemoryImage({ "pc.ram": new Uint8Array(128 * 4096).fill(7) });
  const raw = await migrate(source, { method: "uadk" });
  const packed = await migrate(source, { method: "uadk", uadkCompress: true });
  assert(raw.sent.ram.multifdBytes > 128 * 4096);
  assert(packed.sent.ram.multifdBytes < 128 * 400);
  assertSameRam(packed.image, source);
});

test("receive() zeroes the memory it is given", async () => {
  const source = new MemoryImage({ "pc.ram": new Uint8Array(4 * 4096) });
  const memory = new SharedArrayBuffer(4 * 4096);
  new Uint8Array(memory).fill(0xff);
  await migrate(source, {}, { into: new MemoryImage({ "pc.ram": memory }) });
  assert(new Uint8Array(memory).every((byte) => byte === 0));
});

test("receive() keeps machine type, uuid and device state for sending on", async () => {
  const first = new MemoryImage({ "pc.ram": mixedPages(8, 4096, 5) }, {
    machine: "pc-q35-10.0",
    uuid: new Uint8Array(16).fill(0xab),
  });
  const { image } = await migrate(first);
  const { image: again, received } = await migrate(image);
  assertEquals(again.machine, "pc-q35-10.0");
  assertEquals(received.uuid, "abababab-abab-abab-abab-abababababab");
  assertEquals(again.deviceState, image.deviceState);
});

test("send() and receive() tell their events in order", async () => {
  const told: string[] = [];
  await migrate(guest(), {}, {
    onEvent: ({ type }) => {
      if (told.at(-1) !== type) told.push(type);
    },
  });
  assertEquals(told.filter((type) => type !== "progress"), [
    "listening",
    "started",
    "setup",
    "sync",
    "finishing",
  ]);
});
