/**
 * SIGINT and SIGTERM at any moment: the command says so, ends with 1 and leaves nothing, or it is
 * done already. `deno task kill` tries more moments.
 */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { IMAGE_FORMATS } from "../../src/ram/image_format.ts";
import { Random } from "../_random.ts";
import { type Outcome, type Running, type Runtime, start } from "../cli/_command.ts";
import { count } from "../durability/_outcomes.ts";
import { FakeQemu } from "../qemu_driver/_fake_qemu.ts";
import { checkSurvivor, ended, Place, RUNTIMES, startPair } from "./_disturbed.ts";
import { temporaryDirectory, TRANSPORTS } from "./_migrate.ts";

const SIGNALS_SENT = Number(process.env.SIGNALS ?? 4);
const SEED = Number(process.env.SEED ?? 1);
const MIB = 2 ** 20;
/** Longest wait for the signal, in milliseconds: from the first page on, and from the start on. */
const SPAN = { page: 120, start: 500 };

type Name = "SIGINT" | "SIGTERM";

/** Sends it after a while; child.kill() would have Deno tell the signal in the exit code's place. */
function signal({ child }: Running, name: Name, wait: number): ReturnType<typeof setTimeout> {
  return setTimeout(() => {
    try {
      if (child.exitCode === null) process.kill(child.pid!, name);
    } catch {
      // it ended just now
    }
  }, wait);
}

/** What became of a command that a signal was sent to. */
async function endOf(place: Place, { code, stderr }: Outcome, name: Name): Promise<string> {
  assertEquals(place.partials, []);
  const isWhole = await place.isWhole();
  if (code === 0) return "done already";
  // before it listens for signals, or after it has ended its work
  if (code === null) return isWhole ? "whole" : "nothing begun";
  assertEquals(code, 1, stderr);
  assertMatch(stderr, new RegExp(`Migration was cancelled: ${name}`));
  return "cancelled, nothing left";
}

/** Signals one side of a migration. */
async function disturbPair(
  place: Place,
  verb: string,
  random: Random,
  name: Name,
): Promise<string> {
  const way = {
    sender: random.pick(RUNTIMES),
    receiver: random.pick(RUNTIMES),
    transport: random.pick(TRANSPORTS),
    format: random.pick(IMAGE_FORMATS),
  };
  const wait = random.below(SPAN.page);
  const { send, recv } = await startPair(place, way);
  const timer = signal(verb === "send" ? send : recv, name, wait);
  const [sent, received] = await ended(send, recv) as [Outcome, Outcome];
  clearTimeout(timer);
  const [victim, survivor] = verb === "send" ? [sent, received] : [received, sent];
  checkSurvivor(survivor);
  const end = await endOf(place, victim, name);
  const isWhole = fs.existsSync(place.out);
  if (sent.code === 0 || received.code === 0) assert(isWhole);
  if (received.code === 1 || received.code === 3) assert(!isWhole);
  place.checkImage();
  return end;
}

/** Signals the saving of a QEMU's guest, which goes on then. */
async function disturbSave(runtime: Runtime, wait: number, name: Name): Promise<string> {
  const parent = temporaryDirectory();
  const out = path.join(parent, "vm");
  const qemu = await FakeQemu.start();
  const before = structuredClone(qemu.settings);
  const save = start(runtime, ["save", "--qmp", qemu.socket, "--out", out, "--timeout", "30"]);
  const timer = signal(save, name, wait);
  const [{ code, stderr }] = await ended(save) as [Outcome];
  clearTimeout(timer);
  const left = fs.readdirSync(parent);
  if (code === 1) {
    // before anything was asked of QEMU, its guest has not even been looked at
    const isTouched = qemu.commands.some(([name]) => name.startsWith("migrate"));
    const guest = `( \\((channel \\d+, )?the guest is running\\))${isTouched ? "" : "?"}`;
    assertMatch(stderr, new RegExp(`Migration was cancelled: ${name}${guest}$`, "m"));
    assertEquals([qemu.settings, left], [before, []]);
  } else if (code === 0 || qemu.guest === "postmigrate") {
    assertEquals([qemu.settings, left], [before, ["vm"]]);
  } else {
    assertEquals([code, left], [null, []], stderr);
    assertEquals(qemu.settings, before);
  }
  await qemu.stop();
  fs.rmSync(parent, { recursive: true });
  if (code === 1) return "cancelled, nothing left";
  return left.length > 0 ? "done already" : "nothing begun";
}

// it starts both runtimes itself
if ("Deno" in globalThis) {
  const place = new Place(32 * MIB, SEED);
  const elsewhere = temporaryDirectory();
  const saved = path.join(elsewhere, "saved");
  after(() => {
    place.remove();
    fs.rmSync(elsewhere, { recursive: true });
  });
  const random = new Random(SEED);

  test("there is something to convert", async () => {
    const way = { sender: RUNTIMES.at(-1)!, receiver: RUNTIMES.at(-1)!, transport: "native" };
    const { send, recv } = await startPair(place, { ...way, format: "directory" });
    assertEquals((await ended(send, recv)).map(({ code }) => code), [0, 0]);
    fs.renameSync(place.out, saved);
  });

  for (let i = 0; i < SIGNALS_SENT; i++) {
    const verb = ["send", "recv", "convert", "save"][i % 4]!;
    const name: Name = (i >> 2) + i & 1 ? "SIGTERM" : "SIGINT";
    test(`${verb} ends with ${name}, moment ${i} of seed ${SEED}`, async () => {
      let end: string;
      if (verb === "save") {
        const runtime = random.pick(RUNTIMES);
        end = await disturbSave(runtime, random.below(SPAN.start), name);
      } else if (verb === "convert") {
        const convert = start(random.pick(RUNTIMES), ["convert", saved, "--out", place.out]);
        await place.whenBegun(convert, "mapped-ram");
        const timer = signal(convert, name, random.below(SPAN.page));
        const [outcome] = await ended(convert) as [Outcome];
        clearTimeout(timer);
        end = await endOf(place, outcome, name);
        assert(await place.isWhole(saved));
      } else {
        end = await disturbPair(place, verb, random, name);
      }
      place.clear();
      count(`${name} to ${verb}`, end);
    });
  }
}
