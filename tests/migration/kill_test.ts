/**
 * Processes that are killed at any moment: nothing hangs, what has its name is whole, and the next
 * run clears away the rest. `deno task kill` tries more moments: SEED, MOMENTS.
 */
import { createHash, randomFillSync } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { inspect } from "../../mod.ts";
import { IMAGE_FORMATS, type ImageFormat } from "../../src/ram/image_format.ts";
import { bunPath, denoPath } from "../_tools.ts";
import { Random } from "../_random.ts";
import { type Outcome, type Running, type Runtime, start } from "../cli/_command.ts";
import { mixedPages, temporaryDirectory, TRANSPORTS } from "./_migrate.ts";

const MOMENTS = Number(process.env.MOMENTS ?? 4);
const SEED = Number(process.env.SEED ?? 1);
/** Far beyond what anything here takes, in milliseconds. */
const HANG_MS = 60_000;

const directory = temporaryDirectory();
const image = path.join(directory, "image");
const out = path.join(directory, "vm");
const pages = new Uint8Array(64 * 1024 * 1024);
randomFillSync(pages, 0, pages.length >> 1);
pages.set(mixedPages(2048, 4096, SEED), pages.length - 2048 * 4096);
fs.writeFileSync(image, pages);
const sha256 = createHash("sha256").update(pages).digest("hex");
after(() => fs.rmSync(directory, { recursive: true }));

interface Moment {
  victim: "sender" | "receiver";
  sender: Runtime;
  receiver: Runtime;
  transport: string;
  format: ImageFormat;
  /** When, in percent of what such a migration takes undisturbed from the first page on. */
  percent: number;
}

/** Waits until there is something in the image's partial place, or the receiver ends. */
async function whenReceiving({ child }: Running, format: ImageFormat): Promise<void> {
  const partial = `${out}.partial-${child.pid}`;
  const file = format === "directory" ? path.join(partial, "pc.ram") : partial;
  while (child.exitCode === null && !fs.existsSync(out)) {
    if ((fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0) > 0) return;
    await sleep(1);
  }
}

/**
 * Starts both sides, and kills one of them.
 *
 * @param wait When, in milliseconds since there was something of the image; undefined for never.
 * @returns How it went, and how many milliseconds it took.
 */
async function migrate(
  { victim, sender, receiver, transport, format }: Moment,
  wait?: number,
): Promise<{ sent: Outcome; received: Outcome; took: number }> {
  const shared = ["--transport", transport, "--timeout", "30"];
  const recv = start(receiver, ["recv", "--out", out, "--format", format, ...shared]);
  const address = await recv.line(/^listening on (.*)$/);
  const send = start(sender, ["send", image, "--to", address ?? "", "--method", "zstd", ...shared]);
  let hasHung = false;
  const hung = setTimeout(() => {
    hasHung = true;
    for (const { child } of [send, recv]) child.kill("SIGKILL");
  }, HANG_MS);
  await whenReceiving(recv, format);
  const startedAt = performance.now();
  const { child } = victim === "sender" ? send : recv;
  const killed = wait === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), wait);
  const [sent, received] = await Promise.all([send.outcome, recv.outcome]);
  clearTimeout(killed);
  clearTimeout(hung);
  assert(!hasHung, `A process hung, killed after ${wait} ms`);
  return { sent, received, took: performance.now() - startedAt };
}

const usual = new Map<string, number>();

/** How long such a migration takes undisturbed, in milliseconds. */
async function usualTime(moment: Moment): Promise<number> {
  const { sender, receiver, transport, format } = moment;
  const key = [sender, receiver, transport, format].join();
  let time = usual.get(key);
  if (time !== undefined) return time;
  const { sent, received, took } = await migrate(moment);
  assertEquals([sent.code, received.code], [0, 0], sent.stderr + received.stderr);
  fs.rmSync(out, { recursive: true });
  usual.set(key, time = took);
  return time;
}

/** What is in the image's place: nothing, or all of it. */
async function isWhole(): Promise<boolean> {
  if (!fs.existsSync(out)) return false;
  const report = await inspect(out);
  assert(report.kind === "mapped-ram" || report.kind === "directory" && report.isVerified);
  assertEquals(report.blocks.map((block) => block.sha256), [sha256]);
  return true;
}

/** A side that was left alone ends well, or says that its peer is gone; it waits for nothing. */
function checkSurvivor({ code, stderr }: Outcome): void {
  if (code === 0) return;
  assertEquals(code, 3, stderr);
  assertMatch(stderr, /multifd (send|recv): (Peer|Destination) (dropped|closed)/);
}

async function kill(moment: Moment): Promise<string> {
  const wait = Math.round(await usualTime(moment) * moment.percent / 100);
  const { sent, received } = await migrate(moment, wait);
  checkSurvivor(moment.victim === "sender" ? received : sent);
  const whole = await isWhole();
  // SHUT 0 is a promise, and so is the receiver's exit code
  if (sent.code === 0 || received.code === 0) assert(whole, "A side took the image for complete");
  const left = fs.readdirSync(directory).filter((name) => name !== "image" && name !== "vm");
  if (moment.victim === "sender") assertEquals(left, []);
  else assert(left.length <= 1 && left.every((name) => /^vm\.partial-\d+$/.test(name)), `${left}`);
  if (whole) {
    fs.rmSync(out, { recursive: true });
    return left.length > 0 ? "whole, and more" : "whole";
  }
  const again = await migrate(moment);
  assertEquals([again.sent.code, again.received.code], [0, 0], again.received.stderr);
  assertEquals(fs.readdirSync(directory).sort(), ["image", "vm"]);
  assert(await isWhole());
  fs.rmSync(out, { recursive: true });
  return left.length > 0 ? "partial" : "nothing";
}

const runtimes: Runtime[] = [];
if (denoPath() !== undefined) runtimes.push("deno");
if (bunPath() !== undefined) runtimes.push("bun");
const random = new Random(SEED);
const ends = new Map<string, number>();

for (let i = 0; i < MOMENTS; i++) {
  const moment: Moment = {
    victim: random.pick(["sender", "receiver"]),
    sender: random.pick(runtimes),
    receiver: random.pick(runtimes),
    transport: random.pick(TRANSPORTS),
    format: random.pick(IMAGE_FORMATS),
    percent: random.below(100),
  };
  const { victim, sender, receiver, transport, format, percent } = moment;
  const pair = `${sender} to ${receiver} on ${transport} sockets into a ${format}`;
  test(`${pair}: the ${victim} killed at ${percent} %`, async () => {
    const end = `${victim} killed, left: ${await kill(moment)}`;
    ends.set(end, (ends.get(end) ?? 0) + 1);
  });
}

test("processes were killed at different stages", () => {
  for (const [end, count] of ends) console.log(`${count} times ${end}`);
  assert(ends.size > 1 || MOMENTS < 10, "All of the moments were alike");
});
