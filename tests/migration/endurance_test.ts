/** What must hold over many migrations, and on a disk that is full. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { ImageError, MemoryImage, PeerClosedError, PeerFailedError, send } from "../../mod.ts";
import { migrate, sharedPages, startReceiver, temporaryDirectory, TRANSPORTS } from "./_migrate.ts";

/** `MIGRATIONS=200` for a longer run. */
const MIGRATIONS = Number(process.env.MIGRATIONS ?? 50);
const WARM_UP = 20;

const count = (directory: string): number => fs.readdirSync(directory).length;

/** Settles: threads and descriptors are given back a moment after the last promise. */
async function settledCounts(): Promise<{ descriptors: number; threads: number; rss: number }> {
  let last = { descriptors: -1, threads: -1, rss: 0 };
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    const now = {
      descriptors: count("/proc/self/fd"),
      threads: count("/proc/self/task"),
      rss: process.memoryUsage().rss,
    };
    if (now.descriptors === last.descriptors && now.threads === last.threads) return now;
    last = now;
  }
}

test(`${MIGRATIONS} migrations on native sockets leave no descriptor, thread or memory`, async () => {
  const image = new MemoryImage({ "pc.ram": sharedPages(300, 4096, 1) });
  const native = { transport: "native", engine: "auto" } as const;
  const methods = ["none", "zlib", "zstd", "qpl", "uadk", "qatzip"];
  const run = async (i: number): Promise<void> => {
    const method = methods[i % methods.length]!;
    await migrate(image, { ...native, method, channels: 1 + i % 3 }, native);
  };
  for (let i = 0; i < WARM_UP; i++) await run(i);
  const before = await settledCounts();
  for (let i = 0; i < MIGRATIONS; i++) await run(i);
  const after = await settledCounts();
  assert(after.descriptors <= before.descriptors + 2, `${before.descriptors} ${after.descriptors}`);
  assert(after.threads <= before.threads + 4, `${before.threads} ${after.threads}`);
  const grown = Math.round((after.rss - before.rss) / 2 ** 20);
  // a leak of a channel's buffers would be 2 MiB for each of 2 channels each time
  assert(grown < MIGRATIONS * 2, `${grown} MiB`);
});

/** Mounts a file system of 8 MiB; a reason if that cannot be done here. */
function mountSmall(directory: string): string | false {
  const options = ["-t", "tmpfs", "-o", "size=8m", "tmpfs", directory];
  const { status, stderr, error } = spawnSync("mount", options, { encoding: "utf8" });
  return status === 0 ? false : `no small file system: ${error?.message ?? stderr}`;
}

const probe = temporaryDirectory();
const skip = mountSmall(probe);
if (skip === false) spawnSync("umount", [probe]);
fs.rmdirSync(probe);

for (const transport of TRANSPORTS) {
  test(`receive() on ${transport} sockets ends when the disk is full`, { skip }, async () => {
    const disk = temporaryDirectory();
    assertEquals(mountSmall(disk), false);
    try {
      const image = new MemoryImage({ "pc.ram": sharedPages(8192, 4096, 3) });
      const receiver = await startReceiver({ into: path.join(disk, "vm"), transport });
      const to = receiver.address;
      const [sent, received] = await Promise.allSettled([
        send({ image, to, transport, method: "none", timeout: 5000 }),
        receiver.received,
      ]);
      assert(received.status === "rejected" && received.reason instanceof ImageError);
      assertEquals(received.reason.facts.code, "ENOSPC");
      assertEquals(received.reason.facts.block, "pc.ram");
      assert(sent.status === "rejected");
      assert(sent.reason instanceof PeerFailedError || sent.reason instanceof PeerClosedError);
      assertEquals(fs.readdirSync(disk), []);
    } finally {
      spawnSync("umount", [disk]);
      fs.rmdirSync(disk);
    }
  });
}
