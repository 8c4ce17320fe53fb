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
import { selectEngine } from "../src/engines/select.ts";
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

async function measure(method: Method, packets: Uint8Array[]): Promise<string[]> {
  const level = method.levels?.default ?? 0;
  const engine = selectEngine(method, "encodes");
  const decoder = selectEngine(method, "decodes");
  const pages = new Uint8Array(PACKET_SIZE);
  const encodeTimes: number[] = [];
  const decodeTimes: number[] = [];
  let bytes = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const context = { pageSize: PAGE, level, uadkCompress: true };
    const sender = await method.sendSetup({ ...context, engine });
    const receiver = await method.receiveSetup({ ...context, engine: decoder });
    const payloads: Uint8Array[] = [];
    const out = new Uint8Array(MAX_PAYLOAD_SIZE);
    let start = performance.now();
    for (const packet of packets) {
      const size = await sender.prepare(packet, out);
      payloads.push(out.slice(0, size));
    }
    encodeTimes.push(performance.now() - start);
    start = performance.now();
    for (const payload of payloads) await receiver.receive(payload, pages);
    decodeTimes.push(performance.now() - start);
    bytes = payloads.reduce((sum, payload) => sum + payload.length, 0);
    sender.cleanup();
    receiver.cleanup();
  }
  const megabytes = packets.length * PACKET_SIZE / 1e6;
  const rate = ({ middle, spread }: ReturnType<typeof median>): string =>
    `${Math.round(megabytes / (middle / 1000))} MB/s ±${Math.round(spread * 50)}%`;
  return [
    method.name,
    engine?.name ?? "none",
    rate(median(encodeTimes)),
    rate(median(decodeTimes)),
    `${(bytes * 100 / (megabytes * 1e6)).toFixed(1)}%`,
  ];
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
const rows = [["method", "engine", "encode", "decode", "left"]];
for (const name of methodNames()) rows.push(await measure(methodByName(name)!, packets));
print(table(rows));

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
