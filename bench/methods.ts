/**
 * Each method's packets on the same pages, engine by engine: MB/s of guest RAM per
 * core and the share of bytes that is left. `deno task bench`, or under Bun
 * `bun bench/methods.ts`.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { writeDemoImage } from "../src/cli/demo_image.ts";
import { print, table } from "../src/cli/output.ts";
import { NATIVE_ENGINES, nativeEngine } from "../ffi/engines.ts";
import { builtin } from "../src/engines/builtin.ts";
import type { Engine } from "../src/engines/engine.ts";
import { softwareEngine } from "../src/engines/select.ts";
import { EngineUnavailableError } from "../src/errors.ts";
import { MAX_PAYLOAD_SIZE, type Method } from "../src/methods/method.ts";
import { methodByName, methodNames } from "../src/methods/registry.ts";
import {
  encodeRamPacket,
  PACKET_SIZE,
  parseRamPacket,
  ramPacketHeaderSize,
} from "../src/protocol/ram_packet.ts";
import { isZeroPage } from "../src/ram/zero_page.ts";

const PAGE = 4096;
const ROUNDS = 9;

/** The pages with data of a demo image, as whole packets. */
function makePackets(): Uint8Array[] {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "multifd-bench-")), "guest.ram");
  writeDemoImage(file, 64 * 1024 * 1024);
  const image = new Uint8Array(fs.readFileSync(file));
  fs.rmSync(path.dirname(file), { recursive: true });
  const kept = new Uint8Array(image.length);
  let at = 0;
  for (let offset = 0; offset < image.length; offset += PAGE) {
    const page = image.subarray(offset, offset + PAGE);
    if (isZeroPage(page)) continue;
    kept.set(page, at);
    at += PAGE;
  }
  const packets: Uint8Array[] = [];
  for (let i = 0; (i + 1) * PACKET_SIZE <= at; i++) {
    packets.push(kept.subarray(i * PACKET_SIZE, (i + 1) * PACKET_SIZE));
  }
  return packets;
}

/** The middle of some times, and how far apart they are. */
function median(times: number[]): { middle: number; spread: number } {
  const sorted = times.toSorted((a, b) => a - b);
  const middle = sorted[sorted.length >> 1]!;
  return { middle, spread: (sorted.at(-1)! - sorted[0]!) / middle };
}

/** An engine that can be measured, for one method. */
interface Candidate {
  method: Method;
  engine: Engine | undefined;
  encodeTimes: number[];
  decodeTimes: number[];
  bytes: number;
}

/** libqatzip's software leaks a thread key with each call, of which a process has 1024. */
const LEAKY = "qatzip";
const LEAKY_PACKETS = 40;

/** Every engine that is here, for every method it knows. */
function candidates(): Candidate[] {
  const found: Candidate[] = [];
  const names = [...NATIVE_ENGINES, LEAKY];
  for (const name of methodNames()) {
    const method = methodByName(name)!;
    const { format } = method;
    const known: (Engine | undefined)[] = format === undefined ? [undefined] : [];
    for (const name of format === undefined ? [] : names) {
      try {
        known.push(nativeEngine(name));
      } catch (error) {
        if (!(error instanceof EngineUnavailableError)) throw error;
      }
    }
    if (format !== undefined) known.push(builtin);
    for (const engine of known) {
      const knows = engine === undefined || engine.encodes.includes(format!) ||
        engine.decodes.includes(format!);
      if (knows) found.push({ method, engine, encodeTimes: [], decodeTimes: [], bytes: 0 });
    }
  }
  return found;
}

/** One round of one engine; what it cannot do, the fastest software does, unmeasured. */
async function measure(candidate: Candidate, packets: Uint8Array[]): Promise<void> {
  const { method, engine } = candidate;
  const { format } = method;
  const encodes = engine === undefined || engine.encodes.includes(format!);
  const decodes = engine === undefined || engine.decodes.includes(format!);
  const level = method.levels?.default ?? 0;
  const context = { pageSize: PAGE, level, uadkCompress: true };
  const encoder = encodes ? engine : softwareEngine(method, "encodes");
  const decoder = decodes ? engine : softwareEngine(method, "decodes");
  const sender = await method.sendSetup({ ...context, engine: encoder });
  const receiver = await method.receiveSetup({ ...context, engine: decoder });
  const payloads: Uint8Array[] = [];
  const out = new Uint8Array(MAX_PAYLOAD_SIZE);
  const pages = new Uint8Array(PACKET_SIZE);
  let start = performance.now();
  for (const packet of packets) {
    const size = await sender.prepare(packet, out);
    payloads.push(out.slice(0, size));
  }
  const size = packets.length * PACKET_SIZE;
  if (encodes) candidate.encodeTimes.push((performance.now() - start) / size);
  start = performance.now();
  for (const payload of payloads) await receiver.receive(payload, pages);
  if (decodes) candidate.decodeTimes.push((performance.now() - start) / size);
  if (encodes) candidate.bytes = payloads.reduce((sum, { length }) => sum + length, 0) / size;
  sender.cleanup();
  receiver.cleanup();
}

function rowOf({ method, engine, encodeTimes, decodeTimes, bytes }: Candidate): string[] {
  const rate = (times: number[]): string => {
    if (times.length === 0) return "-";
    const { middle, spread } = median(times);
    return `${Math.round(1 / middle / 1000)} MB/s ±${Math.round(spread * 50)}%`;
  };
  const left = encodeTimes.length === 0 ? "-" : `${(bytes * 100).toFixed(1)}%`;
  return [method.name, engine?.name ?? "none", rate(encodeTimes), rate(decodeTimes), left];
}

/** Microseconds per call, the middle of some rounds. */
function perCall(run: () => void): string {
  const calls = 20_000;
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    for (let i = 0; i < calls; i++) run();
    times.push((performance.now() - start) * 1000 / calls);
  }
  return `${median(times).middle.toFixed(2)} us`;
}

const packets = makePackets();
print(`${packets.length} packets of 512 KiB, median of ${ROUNDS}, ${process.arch}`);
const measured = candidates();
for (let round = 0; round < ROUNDS; round++) {
  for (const candidate of measured) {
    const isLeaky = candidate.engine?.name === LEAKY;
    if (isLeaky && round > 0) continue;
    await measure(candidate, isLeaky ? packets.slice(0, LEAKY_PACKETS) : packets);
  }
}
print(table([["method", "engine", "encode", "decode", "left"], ...measured.map(rowOf)]));

const header = new Uint8Array(ramPacketHeaderSize(PAGE));
const blocks = new Map([["pc.ram", { name: "pc.ram", usedLength: 1024 ** 3 }]]);
const offsets = Float64Array.from({ length: 128 }, (_, i) => i * PAGE);
const packet = {
  flags: 0,
  packetNum: 1,
  pagesAlloc: 128,
  nextPacketSize: PACKET_SIZE,
  normalPages: 128,
  zeroPages: 0,
  block: "pc.ram",
  offsets,
};
const zeroPage = new Uint8Array(PAGE);
print(table([
  ["step", "time per call"],
  ["encodeRamPacket() of 128 pages", perCall(() => encodeRamPacket(packet, PAGE, header))],
  ["parseRamPacket() of 128 pages", perCall(() => parseRamPacket(header, PAGE, blocks))],
  ["isZeroPage() of a zero page", perCall(() => isZeroPage(zeroPage))],
]));
