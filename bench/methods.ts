/**
 * Each method's packets on the same pages, engine by engine: MB/s of guest RAM per
 * core and the share of bytes that is left; and the steps of the protocol by themselves.
 * `deno run -A bench/methods.ts [--json FILE]`, or under Bun `bun bench/methods.ts`.
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
import { PACKET_SIZE } from "../src/protocol/ram_packet.ts";
import {
  encodeRamPacket,
  parseRamPacket,
  ramPacketHeaderSize,
} from "../src/protocol/ram_packet_header.ts";
import { isZeroPage } from "../src/ram/zero_page.ts";
import { withLoad } from "./_load.ts";
import { describeMachine } from "./_machine.ts";
import { readOptions } from "./_options.ts";
import { describeImage, type ImageInfo } from "./_place.ts";
import { type EngineFigures, type StepFigures, writeReport } from "./_report.ts";
import { relativeSpread, type Spread, spreadOf } from "./_statistics.ts";

const PAGE = 4096;
const ROUNDS = 9;

/** The pages with data of a demo image, as whole packets. */
function makePackets(): [packets: Uint8Array[], image: ImageInfo] {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "multifd-bench-")), "guest.ram");
  writeDemoImage(file, 64 * 1024 * 1024);
  const image = new Uint8Array(fs.readFileSync(file));
  const info = describeImage(file);
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
  return [packets, info];
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

/** MB/s from milliseconds per byte. */
function rates(times: number[]): Spread | undefined {
  return times.length === 0 ? undefined : spreadOf(times.map((time) => 1 / time / 1000));
}

function figuresOf({ method, engine, encodeTimes, decodeTimes, bytes }: Candidate): EngineFigures {
  return {
    method: method.name,
    engine: engine?.name ?? "none",
    encode: rates(encodeTimes),
    decode: rates(decodeTimes),
    left: encodeTimes.length === 0 ? undefined : bytes,
  };
}

function rowOf({ method, engine, encode, decode, left }: EngineFigures): string[] {
  const rate = (spread: Spread | undefined): string =>
    spread === undefined
      ? "-"
      : `${Math.round(spread.median)} MB/s ±${Math.round(relativeSpread(spread) * 50)}%`;
  const share = left === undefined ? "-" : `${(left * 100).toFixed(1)}%`;
  return [method, engine, rate(encode), rate(decode), share];
}

/** A step's microseconds per call. */
function timeStep(step: string, run: () => void): StepFigures {
  const calls = 20_000;
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    for (let i = 0; i < calls; i++) run();
    times.push((performance.now() - start) * 1000 / calls);
  }
  return { step, time: spreadOf(times) };
}

function timeSteps(): StepFigures[] {
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
  return [
    timeStep("encodeRamPacket() of 128 pages", () => encodeRamPacket(packet, PAGE, header)),
    timeStep("parseRamPacket() of 128 pages", () => parseRamPacket(header, PAGE, blocks)),
    timeStep("isZeroPage() of a zero page", () => isZeroPage(zeroPage)),
  ];
}

const values = readOptions({ json: { type: "string" } });
const [packets, image] = makePackets();
print(`${packets.length} packets of 512 KiB, median of ${ROUNDS}, ${process.arch}`);
const measured = candidates();

async function measureAll(): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) {
    for (const candidate of measured) {
      const isLeaky = candidate.engine?.name === LEAKY;
      if (isLeaky && round > 0) continue;
      await measure(candidate, isLeaky ? packets.slice(0, LEAKY_PACKETS) : packets);
    }
  }
}

const [, load] = await withLoad(measureAll);
const engines = measured.map(figuresOf);
const steps = timeSteps();
print(table([["method", "engine", "encode", "decode", "left"], ...engines.map(rowOf)]));
print(table([
  ["step", "time per call"],
  ...steps.map(({ step, time }) => [step, `${time.median.toFixed(2)} us`]),
]));
const options = { rounds: ROUNDS };
const machine = describeMachine();
const notes = [`other processes used ${(load.others * 100).toFixed(1)} % of the machine`];
notes.forEach(print);
writeReport(values.json, { suite: "micro", machine, image, options, notes, engines, steps });
