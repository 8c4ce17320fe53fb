/** What must hold on a disk that is full. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { ImageError, MemoryImage, PeerClosedError, PeerFailedError, send } from "../../mod.ts";
import { IMAGE_FORMATS } from "../../src/ram/image_format.ts";
import { count } from "../durability/_outcomes.ts";
import { sharedPages, startReceiver, temporaryDirectory, TRANSPORTS } from "./_migrate.ts";

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

const CASES = TRANSPORTS.flatMap((transport) =>
  IMAGE_FORMATS.map((format) => ({ transport, format }))
);

for (const { transport, format } of CASES) {
  const where = `${transport} sockets, format ${format},`;
  test(`receive() on ${where} ends when the disk is full`, { skip }, async () => {
    const disk = temporaryDirectory();
    assertEquals(mountSmall(disk), false);
    try {
      const image = new MemoryImage({ "pc.ram": sharedPages(8192, 4096, 3) });
      const receiver = await startReceiver({ into: path.join(disk, "vm"), format, transport });
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
      count("a disk that is full", "SHUT 1, nothing left");
    } finally {
      // a sync under way may still hold it
      spawnSync("umount", ["--lazy", disk]);
      fs.rmdirSync(disk);
    }
  });
}
