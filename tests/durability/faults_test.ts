/** A disk that fails when the image is nearly whole: the source keeps its guest, nothing stays. */
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { PeerFailedError, send } from "../../mod.ts";
import { here, start } from "../cli/_command.ts";
import { guest, temporaryDirectory, TRANSPORTS } from "../migration/_migrate.ts";
import { failing, skip } from "./_strace.ts";

/** What fails: calls, with what, on which path beside the image's name; and what recv says. */
const FAULTS: [what: string, calls: string, error: string, path: string, message: RegExp][] = [
  ["a block's sync", "fsync", "EIO", "vm.partial-$$/pc.ram", /Cannot sync pc\.ram.*EIO/],
  ["a small block's sync", "fsync", "EIO", "vm.partial-$$/pc.bios", /Cannot sync pc\.bios.*EIO/],
  [
    "the device state's sync",
    "fsync",
    "EIO",
    "vm.partial-$$/device-state.bin",
    /Cannot write device-state\.bin.*EIO/,
  ],
  [
    "the manifest, on a full disk",
    "write,pwrite64",
    "ENOSPC",
    "vm.partial-$$/migration.json",
    /Cannot write migration\.json.*ENOSPC/,
  ],
  [
    "the manifest's sync",
    "fsync",
    "EIO",
    "vm.partial-$$/migration.json",
    /Cannot write migration\.json.*EIO/,
  ],
  ["the directory's sync", "fsync", "EIO", "vm.partial-$$", /Cannot finish .*vm: .*EIO/],
  [
    "the naming",
    "rename,renameat,renameat2",
    "EROFS",
    "vm.partial-$$",
    /Cannot finish .*vm: .*EROFS/,
  ],
  ["the parent's sync, after the naming", "fsync", "EIO", "", /Cannot finish .*vm: .*EIO/],
];

for (const transport of TRANSPORTS) {
  for (const [what, calls, error, where, message] of FAULTS) {
    test(`recv on ${transport} sockets says SHUT 1 and leaves nothing when this fails: ${what}`, {
      skip,
    }, async () => {
      const parent = temporaryDirectory();
      const args = ["recv", "--out", path.join(parent, "vm"), "--transport", transport];
      const under = failing(calls, error, path.join(parent, where));
      const recv = start(here, [...args, "--timeout", "20"], under);
      const address = await recv.line(/^listening on (.*)$/);
      await assertRejects(
        () => send({ image: guest(), to: address ?? "", method: "none" }),
        PeerFailedError,
      );
      const { code, stderr } = await recv.outcome;
      assertMatch(stderr, message);
      assertEquals(code, 1);
      assertEquals(fs.readdirSync(parent), []);
      fs.rmdirSync(parent);
    });
  }
}
