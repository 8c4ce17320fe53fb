/** Measuring each method, level and engine that can be used here on sampled pages. */
import process from "node:process";
import { listEngines } from "../engines/list.ts";
import type { Engine } from "../engines/engine.ts";
import { type EngineDirection, selectEngine, softwareEngine } from "../engines/select.ts";
import {
  MAX_PAYLOAD_SIZE,
  type Method,
  type MethodReceiver,
  type MethodSender,
} from "../methods/method.ts";
import { methodByName, methodNames } from "../methods/registry.ts";
import { PACKET_SIZE } from "../protocol/ram_packet.ts";
import { viewOf } from "../protocol/bytes.ts";
import type { CodecMeasure, Profile, Speed } from "./codecs.ts";
import type { Sample } from "./sample.ts";
import { spreadOf } from "./statistics.ts";

/** Batches of each; the median counts. */
const BATCHES = 5;
/** How long a batch may take to compress, in milliseconds: so many packets are in it. */
const BATCH_MS = 50;
/** Packets that a batch has at least: a window wants neighbours. */
const LEAST_PACKETS = 8;

/** How much is measured. */
export interface MeasureOptions {
  /** Methods to measure; all if undefined. */
  methods?: readonly string[] | undefined;
  /** Levels to measure, where a method has them. */
  levels: readonly number[];
  /** Stops early. */
  signal?: AbortSignal | undefined;
  /** Told what is measured next. */
  onProgress?: ((what: string) => void) | undefined;
}

/** A packet's pages, and how much deflate leaves of them page by page. */
interface Packet {
  pages: Uint8Array;
  reference: number;
}

/** One codec that is being measured. */
interface Candidate {
  codec: Codec;
  sender: MethodSender;
  receiver: MethodReceiver;
  encodes: boolean;
  decodes: boolean;
  /** How many packets are in a batch. */
  count: number;
  /** Bytes that its first packets gave: engines that do the same give the same. */
  fingerprint: number;
  batches: Batch[];
}

/** What one batch took and gave. */
interface Batch {
  packets: readonly Packet[];
  /** Bytes of payload. */
  payload: number;
  /** Seconds. */
  encodeTime: number;
  decodeTime: number;
}

/**
 * Measures all codecs, batch by batch in turn, so that a machine that is busy for a while
 * does not spoil one of them.
 *
 * @param sample The pages.
 * @param options What to measure.
 * @throws {CodecError} If an engine does not read what another wrote.
 */
export async function measureProfile(sample: Sample, options: MeasureOptions): Promise<Profile> {
  const { pageSize, pages } = sample;
  const { packets, incompressible } = await lookAt(sample);
  const profile: Profile = {
    bytes: sample.totalBytes,
    pageSize,
    sampledPages: pages,
    shares: {
      zero: sample.zeroPages / pages,
      incompressible: incompressible / pages,
      duplicate: sample.duplicatePages / pages,
    },
    codecs: [],
  };
  if (packets.length > 0) profile.codecs = await measureCodecs(packets, pageSize, options);
  return profile;
}

async function measureCodecs(
  packets: readonly Packet[],
  pageSize: number,
  { methods = methodNames(), levels, signal, onProgress }: MeasureOptions,
): Promise<CodecMeasure[]> {
  const arena = new Uint8Array(1.1 * sum(packets, sizeOf) + MAX_PAYLOAD_SIZE);
  const candidates: Candidate[] = [];
  try {
    const codecs = codecsHere(methods, levels);
    onProgress?.(`trying ${codecs.length} codecs`);
    for (const codec of codecs) {
      signal?.throwIfAborted();
      candidates.push(await open(codec, packets, pageSize, arena));
    }
    for (let batch = 1; batch <= BATCHES; batch++) {
      onProgress?.(`measuring ${candidates.length} codecs, ${batch} of ${BATCHES}`);
      for (const candidate of candidates) {
        signal?.throwIfAborted();
        candidate.batches.push(
          await runBatch(candidate, spread(packets, candidate.count, batch), arena),
        );
      }
    }
  } finally {
    for (const { sender, receiver } of candidates) {
      sender.cleanup();
      receiver.cleanup();
    }
  }
  return withoutRepeats(candidates).map((candidate) => finish(candidate, packets));
}

type Codec = Omit<CodecMeasure, "left" | "encode" | "decode">;

/** Every engine that is here, for every method it knows. */
function codecsHere(methods: readonly string[], levels: readonly number[]): Codec[] {
  const codecs: Codec[] = [];
  const engines = listEngines();
  for (const name of methods) {
    const { format, levels: range } = methodByName(name)!;
    if (format === undefined) {
      codecs.push({ method: name, level: undefined, engine: "none", kind: "copy", dense: false });
      continue;
    }
    const wanted: (number | undefined)[] = range === undefined
      ? [undefined]
      : levels.filter((level) => level >= range.min && level <= range.max);
    for (const { name: engine, kind, compresses, decompresses } of engines) {
      if (!compresses.includes(name) && !decompresses.includes(name)) continue;
      const codec = { method: name, engine, kind };
      // what only decompresses does so whatever the level was
      const tried = compresses.includes(name) ? wanted : wanted.slice(0, 1);
      for (const level of tried) codecs.push({ ...codec, level, dense: false });
      // an engine that does not know it repeats itself, and one of the two goes
      if (compresses.includes(name) && wanted.includes(range?.default)) {
        codecs.push({ ...codec, level: range?.default, dense: true });
      }
    }
  }
  return codecs;
}

async function open(
  codec: Codec,
  packets: readonly Packet[],
  pageSize: number,
  arena: Uint8Array,
): Promise<Candidate> {
  const method = methodByName(codec.method)!;
  const encoder = engineFor(method, "encodes", codec.engine);
  const decoder = engineFor(method, "decodes", codec.engine);
  const level = codec.level ?? 0;
  const context = { pageSize, level, dense: codec.dense, uadkCompress: true };
  const candidate: Candidate = {
    codec,
    sender: await method.sendSetup({ ...context, engine: encoder }),
    receiver: await method.receiveSetup({ ...context, engine: decoder }),
    encodes: encoder === undefined || encoder.name === codec.engine,
    decodes: decoder === undefined || decoder.name === codec.engine,
    count: LEAST_PACKETS,
    fingerprint: 0,
    batches: [],
  };
  // once to warm up, and once more to see how many packets make a batch
  const first = spread(packets, LEAST_PACKETS, 0);
  candidate.fingerprint = (await runBatch(candidate, first, arena)).payload;
  const { encodeTime } = await runBatch(candidate, first, arena);
  candidate.count = Math.max(
    LEAST_PACKETS,
    Math.floor(BATCH_MS / 1000 / encodeTime * first.length),
  );
  return candidate;
}

/** The engine itself where it can; what it cannot, the fastest software does, unmeasured. */
function engineFor(method: Method, direction: EngineDirection, name: string): Engine | undefined {
  if (method.format === undefined) return undefined;
  const { compresses, decompresses } = listEngines().find((engine) => engine.name === name)!;
  const known = direction === "encodes" ? compresses : decompresses;
  return known.includes(method.name)
    ? selectEngine(method, direction, name)
    : softwareEngine(method, direction);
}

/** Some of the packets, from all over, and other ones in each batch. */
function spread<T>(all: readonly T[], count: number, batch: number): T[] {
  const wanted = Math.min(count, all.length);
  const step = all.length / wanted;
  const phase = step * batch / (BATCHES + 1);
  return Array.from({ length: wanted }, (_, i) => all[Math.floor(i * step + phase)]!);
}

const sizeOf = ({ pages }: Packet): number => pages.length;
const referenceOf = ({ reference }: Packet): number => reference;

function sum<T>(all: readonly T[], figure: (one: T) => number): number {
  return all.reduce((total, one) => total + figure(one), 0);
}

const decoded = new Uint8Array(PACKET_SIZE);

async function runBatch(
  { codec, sender, receiver }: Candidate,
  packets: readonly Packet[],
  arena: Uint8Array,
): Promise<Batch> {
  const isDevice = codec.kind === "device";
  const ends: number[] = [0];
  const encodeTime = await timed(isDevice, async () => {
    for (const { pages } of packets) {
      const at = ends.at(-1)!;
      ends.push(at + await sender.prepare(pages, arena.subarray(at)));
    }
  });
  const decodeTime = await timed(isDevice, async () => {
    for (const [i, { pages }] of packets.entries()) {
      const payload = arena.subarray(ends[i]!, ends[i + 1]!);
      await receiver.receive(payload, decoded.subarray(0, pages.length));
    }
  });
  return { packets, payload: ends.at(-1)!, encodeTime, decodeTime };
}

/**
 * Seconds that something takes. Of software its CPU time, if that is less: what other programs
 * took of the machine meanwhile is not the codec's.
 */
export async function timed(isDevice: boolean, run: () => Promise<void>): Promise<number> {
  const cpu = process.cpuUsage();
  const start = performance.now();
  await run();
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return isDevice ? seconds : Math.min(seconds, (user + system) / 1e6);
}

function finish(
  { codec, batches, encodes, decodes }: Candidate,
  all: readonly Packet[],
): CodecMeasure {
  const speed = (time: "encodeTime" | "decodeTime"): Speed => {
    const rate = spreadOf(batches.map((batch) => sum(batch.packets, sizeOf) / 1e6 / batch[time]));
    return { rate, secondsPerByte: 1 / (rate.median * 1e6) };
  };
  // a slow codec saw few packets: the reference tells how unlike the others they are
  const seen = batches.flatMap(({ packets }) => packets);
  const fromReference = sum(batches, ({ payload }) => payload) / sum(seen, referenceOf);
  return {
    ...codec,
    left: codec.kind === "copy" ? 1 : fromReference * sum(all, referenceOf) / sum(all, sizeOf),
    encode: encodes ? speed("encodeTime") : undefined,
    decode: decodes ? speed("decodeTime") : undefined,
  };
}

/** An engine that does not know a level, or `dense`, does the same as without. */
function withoutRepeats(candidates: readonly Candidate[]): Candidate[] {
  return candidates.filter(({ codec, fingerprint }, i) =>
    !candidates.slice(0, i).some((other) =>
      other.codec.method === codec.method && other.codec.engine === codec.engine &&
      other.fingerprint === fingerprint
    )
  );
}

/** Each packet's reference, and how many pages method qpl would send as they are. */
async function lookAt(
  { packets, pageSize }: Sample,
): Promise<{ packets: Packet[]; incompressible: number }> {
  const method = methodByName("qpl")!;
  const engine = softwareEngine(method, "encodes");
  const sender = await method.sendSetup({ pageSize, level: 0, engine });
  const out = new Uint8Array(MAX_PAYLOAD_SIZE);
  const lengths = viewOf(out);
  const looked: Packet[] = [];
  let incompressible = 0;
  try {
    for (const pages of packets) {
      looked.push({ pages, reference: await sender.prepare(pages, out) });
      for (let i = 0; i < pages.length / pageSize; i++) {
        if (lengths.getUint32(4 * i) === pageSize) incompressible++;
      }
    }
  } finally {
    sender.cleanup();
  }
  return { packets: looked, incompressible };
}
