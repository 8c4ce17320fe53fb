/** SHUT 0 lets the source forget its guest: the system calls before it show that all is on disk. */
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { send } from "../../mod.ts";
import { here, start } from "../cli/_command.ts";
import { guest, startReceiver, temporaryDirectory, TRANSPORTS } from "../migration/_migrate.ts";
import { type Call, fileOf, readTrace, skip, stringsOf, tracing } from "./_strace.ts";

/** The return path's SHUT with status 0: u16 type, u16 length, u32 status. */
const SHUT_0 = "\0\x01\0\x04\0\0\0\0";

const SENDING = ["write", "writev", "sendto", "sendmsg"];
const WRITING = ["write", "writev", "pwrite64", "pwritev", "pwritev2"];
const NAMING = ["rename", "renameat", "renameat2", "link", "linkat"];

/** What a directory has, for the guest's three blocks. */
const FILES = [
  "%2From@etc%2Facpi%2Ftables",
  "device-state.bin",
  "migration.json",
  "pc.bios",
  "pc.ram",
];

/** Receives a guest under strace. */
async function traced(out: string, args: string[]): Promise<Call[]> {
  const file = `${out}.trace`;
  const recv = start(here, ["recv", "--out", out, "--timeout", "20", ...args], tracing(file));
  const address = await recv.line(/^listening on (.*)$/);
  if (address !== undefined) await send({ image: guest(), to: address, method: "zlib" });
  const { code, stderr } = await recv.outcome;
  assertEquals(code, 0, stderr);
  return readTrace(file);
}

function only(calls: Call[], what: string): Call {
  assertEquals(calls.length, 1, what);
  return calls[0]!;
}

/** Where in the trace the last of some calls had returned. */
function lastOf(calls: Call[]): number {
  return Math.max(-1, ...calls.map(({ end }) => end));
}

/** Where in the trace an fsync had returned that began after a line; fdatasync may leave out a size. */
function synced(calls: Call[], file: string, after: number): number {
  const syncs = calls.filter((call) => call.name === "fsync" && fileOf(call) === file);
  return syncs.find(({ start, hasFailed }) => start > after && !hasFailed)?.end ?? Infinity;
}

function checkFile(calls: Call[], file: string, before: Call): void {
  const writes = calls.filter((call) => WRITING.includes(call.name) && fileOf(call) === file);
  assert(writes.length > 0, `${file} was never written`);
  const end = synced(calls, file, lastOf(writes));
  assert(end < before.start, `${file} was not synced after its last write`);
}

function checkDirectory(calls: Call[], directory: string, after: number, before: Call): void {
  const end = synced(calls, directory, after);
  assert(end < before.start, `${directory} was not synced after its last change`);
}

/** The call that gives the image its name. */
function naming(calls: Call[], out: string): { call: Call; partial: string } {
  const named = calls.filter((call) => NAMING.includes(call.name) && stringsOf(call)[1] === out);
  const call = only(named, `${out} was not named once`);
  return { call, partial: stringsOf(call)[0]! };
}

function shutOf(calls: Call[]): Call {
  const said = (call: Call): boolean => stringsOf(call).includes(SHUT_0);
  return only(calls.filter((call) => SENDING.includes(call.name) && said(call)), "SHUT 0");
}

for (const transport of TRANSPORTS) {
  test(`send on ${transport} sockets only ever reads its image`, { skip }, async () => {
    const parent = temporaryDirectory();
    const image = path.join(parent, "guest.ram");
    const trace = path.join(parent, "trace");
    fs.writeFileSync(image, guest().memory.get("pc.ram")!);
    const before = fs.statSync(image, { bigint: true });
    const receiver = await startReceiver({ transport });
    const args = ["send", image, "--to", receiver.address, "--transport", transport];
    const { code, stderr } = await start(here, args, tracing(trace)).outcome;
    assertEquals(code, 0, stderr);
    await receiver.received;
    const calls = readTrace(trace);
    const opened = calls.filter((call) =>
      call.name.startsWith("open") && stringsOf(call).includes(image)
    );
    assert(opened.length > 0, "It was never opened");
    for (const { args } of opened) assertMatch(args, /\bO_RDONLY\b/);
    assertEquals(calls.filter((call) => WRITING.includes(call.name) && fileOf(call) === image), []);
    const after = fs.statSync(image, { bigint: true });
    for (const name of ["ino", "mode", "size", "mtimeNs", "ctimeNs"] as const) {
      assertEquals(after[name], before[name], name);
    }
    assert(fs.readFileSync(image).equals(guest().memory.get("pc.ram")!));
    fs.rmSync(parent, { recursive: true });
  });

  test(`recv on ${transport} sockets has a directory on disk before SHUT 0`, { skip }, async () => {
    const parent = temporaryDirectory();
    const out = path.join(parent, "vm");
    const calls = await traced(out, ["--transport", transport]);
    assertEquals(fs.readdirSync(out).sort(), FILES);
    const { call, partial } = naming(calls, out);
    for (const file of FILES) checkFile(calls, path.join(partial, file), call);
    const made = calls.filter((call) =>
      call.name.startsWith("open") && call.args.includes("O_CREAT") &&
      path.dirname(stringsOf(call)[0]!) === partial
    );
    assertEquals(made.length, FILES.length);
    checkDirectory(calls, partial, lastOf(made), call);
    checkDirectory(calls, parent, call.end, shutOf(calls));
    fs.rmSync(parent, { recursive: true });
  });

  test(
    `recv on ${transport} sockets has a mapped-ram file on disk before SHUT 0`,
    { skip },
    async () => {
      const parent = temporaryDirectory();
      const out = path.join(parent, "vm");
      const calls = await traced(out, ["--transport", transport, "--format", "mapped-ram"]);
      const { call, partial } = naming(calls, out);
      checkFile(calls, partial, call);
      checkDirectory(calls, parent, call.end, shutOf(calls));
      fs.rmSync(parent, { recursive: true });
    },
  );
}
