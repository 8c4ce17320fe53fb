/** A disk that fails: the source keeps its guest, and nothing stays. */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { PeerFailedError, send } from "../../mod.ts";
import type { ImageFormat } from "../../src/ram/image_format.ts";
import { here, start } from "../cli/_command.ts";
import { guest, startReceiver, temporaryDirectory, TRANSPORTS } from "../migration/_migrate.ts";
import { count } from "./_outcomes.ts";
import { failing, skip } from "./_strace.ts";

const WRITES = "write,writev,pwrite64,pwritev,pwritev2";
const NAMING = "rename,renameat,renameat2,link,linkat";

/** What fails: calls, with what, on which path beside the image's name; and what recv says. */
interface Fault {
  format: ImageFormat;
  what: string;
  calls: string;
  /** The error, and what else strace is to do. */
  error: string;
  path: string;
  message: RegExp;
}

function directory(
  what: string,
  calls: string,
  error: string,
  path: string,
  message: RegExp,
): Fault {
  return { format: "directory", what, calls, error, path, message };
}

function file(what: string, calls: string, error: string, path: string, message: RegExp): Fault {
  return { format: "mapped-ram", what, calls, error, path, message };
}

const RAM = "vm.partial-$$/pc.ram";
const BIOS = "vm.partial-$$/pc.bios";
const STATE = "vm.partial-$$/device-state.bin";
const MANIFEST = "vm.partial-$$/migration.json";
const ALL = "vm.partial-$$";

const FAULTS: Fault[] = [
  directory("a page's write", WRITES, "EIO", RAM, /Cannot write .*pc\.ram.*EIO/),
  directory("a page's write, disk full", WRITES, "ENOSPC", RAM, /Cannot write .*pc\.ram.*ENOSPC/),
  directory("a block's sync", "fsync", "EIO", RAM, /Cannot sync pc\.ram.*EIO/),
  directory("a small block's sync", "fsync", "EIO", BIOS, /Cannot sync pc\.bios.*EIO/),
  directory(
    "the device state's sync",
    "fsync",
    "EIO",
    STATE,
    /Cannot write device-state\.bin.*EIO/,
  ),
  directory("the manifest", WRITES, "ENOSPC", MANIFEST, /Cannot write migration\.json.*ENOSPC/),
  directory("the manifest's sync", "fsync", "EIO", MANIFEST, /Cannot write migration\.json.*EIO/),
  directory("the directory's sync", "fsync", "EIO", ALL, /Cannot finish .*vm: .*EIO/),
  directory("the naming", NAMING, "EROFS", ALL, /Cannot finish .*vm: .*EROFS/),
  directory("the parent's sync", "fsync", "EIO", "", /Cannot finish .*vm: .*EIO/),
  file("a page's write", WRITES, "EIO", ALL, /Cannot write .*vm\.partial-.*EIO/),
  file("a page's write, disk full", WRITES, "ENOSPC", ALL, /Cannot write .*vm\.partial.*ENOSPC/),
  file("its sync", "fsync", "EIO", ALL, /Cannot finish .*vm: .*EIO/),
  file("the naming", NAMING, "EROFS", ALL, /Cannot finish .*vm: .*EROFS/),
  file("the end of its first name", "unlink", "EIO:when=1", ALL, /Cannot finish .*EIO/),
  file("the parent's sync", "fsync", "EIO", "", /Cannot finish .*vm: .*EIO/),
];

// they are turned into errors by the same code: each on one transport and under one runtime
const isAll = process.env.FAULTS === "all";
const CASES = FAULTS.flatMap((fault, i) =>
  TRANSPORTS.filter((_, j) => isAll || i % 2 === (here === "deno" ? 0 : 1) && (i >> 1) % 2 === j)
    .map((transport) => ({ ...fault, transport }))
);

for (const { format, what, calls, error, path: where, message, transport } of CASES) {
  const name = `recv on ${transport} sockets into a ${format} says SHUT 1 and leaves nothing`;
  test(`${name} when this fails: ${what}`, { skip }, async () => {
    const parent = temporaryDirectory();
    const args = ["recv", "--out", path.join(parent, "vm"), "--format", format];
    const under = failing(calls, error, path.join(parent, where));
    const recv = start(here, [...args, "--transport", transport, "--timeout", "20"], under);
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
    const kind = what.includes("sync") ? "sync" : what.includes("write") ? "write" : "naming";
    count(`a ${format}'s ${kind} fails`, "SHUT 1, nothing left");
  });
}

test("recv names a mapped-ram file also where there are no hard links", { skip }, async () => {
  const parent = temporaryDirectory();
  const args = ["recv", "--out", path.join(parent, "vm"), "--format", "mapped-ram"];
  const recv = start(here, args, failing("link,linkat", "EPERM", path.join(parent, ALL)));
  const address = await recv.line(/^listening on (.*)$/);
  await send({ image: guest(), to: address ?? "", method: "none" });
  const { code, stderr } = await recv.outcome;
  assertEquals(code, 0, stderr);
  assertEquals(fs.readdirSync(parent), ["vm"]);
  fs.rmSync(parent, { recursive: true });
});

for (const transport of TRANSPORTS) {
  test(`send on ${transport} sockets ends when its image cannot be read`, { skip }, async () => {
    const parent = temporaryDirectory();
    const image = path.join(parent, "guest.ram");
    fs.writeFileSync(image, guest().memory.get("pc.ram")!);
    const receiver = await startReceiver({ transport, into: path.join(parent, "vm") });
    const received = assertRejects(() => receiver.received, Error);
    const under = failing("read,pread64,preadv,preadv2", "EIO:when=2+", image);
    const args = ["send", image, "--to", receiver.address, "--transport", transport];
    const { code, stderr } = await start(here, args, under).outcome;
    assertMatch(stderr, /Cannot read .*guest\.ram.*EIO/);
    assertEquals(code, 1);
    await received;
    assertEquals(fs.readdirSync(parent), ["guest.ram"]);
    fs.rmSync(parent, { recursive: true });
    count("an image cannot be read", "both sides say so, nothing left");
  });
}
