/** Migrations in pieces: made up, or taken from a recording. */
import fs from "node:fs";
import { encodeGreeting, GREETING_SIZE } from "../../src/protocol/greeting.ts";
import type { SyncMode } from "../../src/protocol/main_channel.ts";
import { emptyVmTail, MainChannelWriter } from "../../src/protocol/main_channel_writer.ts";
import { methodByName } from "../../src/methods/registry.ts";
import { FLAG_SYNC, PACKET_SIZE, type RamBlock } from "../../src/protocol/ram_packet.ts";
import { encodeRamPacket, ramPacketHeaderSize } from "../../src/protocol/ram_packet_header.ts";
import { joined } from "../methods/_pages.ts";
import { recording, tail } from "../protocol/_build.ts";
import type { Random } from "../_random.ts";
import { anyPage, encodeChannel, METHODS } from "./_channels.ts";
import type { Options } from "./_target.ts";

/** A packet or, as the first of a channel, its greeting. */
export interface Packet {
  header: Uint8Array;
  payload: Uint8Array;
}

/** Everything a source sends, in pieces that can be damaged one by one. */
export interface Migration {
  main: Uint8Array[];
  channels: Packet[][];
  /** What the receiver is told. */
  options: Options;
}

/** Pages of one block that travel in one packet. */
interface Work {
  block: string;
  pages: { offset: number; data: Uint8Array | undefined }[];
}

const NAMES = ["pc.ram", "vga.vram", "/rom@etc/acpi/tables", "\u00e9", "x".repeat(255), "a"];

/** How a made-up source behaves. */
interface Source {
  pageSize: number;
  method: string;
  mode: SyncMode;
  /** QEMU 7.2 and 8: pages may ride in SYNC packets, and zero pages on the main channel. */
  isOld: boolean;
  /** Where zero pages travel. */
  zeros: "channels" | "main" | "as data";
  channels: number;
}

function anySource(random: Random): Source {
  const isOld = random.below(4) === 0;
  return {
    pageSize: isOld ? 4096 : random.pick([4096, 4096, 4096, 8192, 16384, 65536]),
    method: isOld ? random.pick(["none", "zlib", "zstd"]) : random.pick(METHODS),
    mode: isOld ? "section" : random.pick(["round", "round", "section"]),
    isOld,
    zeros: isOld ? random.pick(["main", "as data"]) : random.pick(["channels", "main", "as data"]),
    channels: random.pick([1, 2, 2, 3, 5]),
  };
}

/** Makes a migration that is right in everything. */
export async function makeMigration(random: Random): Promise<Migration> {
  const source = anySource(random);
  const { pageSize, mode } = source;
  const names = NAMES.slice(random.below(3), 3 + random.below(4));
  const blocks = names.map((name): RamBlock => ({
    name,
    usedLength: pageSize * (1 + random.below(pageSize === 4096 ? 12 : 4)),
  }));
  // a block without pages, where more follow
  if (random.below(8) === 0) blocks.unshift({ name: "none", usedLength: 0 });
  const uuid = random.below(3) === 0 ? random.bytes(16) : new Uint8Array(16);
  const rounds = 1 + random.below(3);
  const writer = new MainChannelWriter(mode);
  const tellsUuid = random.below(4) === 0;
  const main = [writer.head("pc-q35-10.0", pageSize, tellsUuid ? { uuid } : {})];
  if (random.below(2) === 0) main.push(writer.openReturnPath(), writer.ping(random.u32()));
  main.push(writer.ramStart(blocks));
  const channels = new Channels(source, uuid, random);
  channels.sync();
  for (let round = 0; round < rounds; round++) {
    const isLast = round === rounds - 1;
    const works = makeRound(blocks, source, round === 0, random);
    if (source.zeros === "main") main.push(writer.ramPart(), ...takeZeros(works, writer));
    channels.add(works);
    channels.sync();
    if (isLast && source.zeros !== "main") main.push(writer.ramEnd());
    else if (source.zeros === "main") main.push(writer.ramPartEnd());
    else main.push(writer.ramPart(), writer.ramPartEnd());
  }
  if (source.zeros === "main") {
    channels.sync();
    main.push(writer.ramEnd());
  }
  main.push(random.below(2) === 0 ? emptyVmTail() : tail({ name: "cpu", body: random.bytes(20) }));
  return {
    main,
    channels: await channels.encode(),
    options: {
      pageSize,
      ...(random.below(3) > 0 ? { channels: source.channels } : {}),
      ...(random.below(3) === 0 ? { method: source.method } : {}),
    },
  };
}

/** Every page in the first round, some of them again in later ones; each once in a round. */
function makeRound(
  blocks: readonly RamBlock[],
  { pageSize, zeros }: Source,
  isFirst: boolean,
  random: Random,
): Work[] {
  const works: Work[] = [];
  for (const { name: block, usedLength } of blocks) {
    const offsets = Array.from({ length: usedLength / pageSize }, (_, i) => i * pageSize)
      .filter(() => isFirst || random.below(3) === 0);
    while (offsets.length > 0) {
      const most = Math.min(offsets.length, PACKET_SIZE / pageSize);
      const pages = offsets.splice(0, 1 + random.below(most)).map((offset) => {
        const data = random.below(3) === 0 ? new Uint8Array(pageSize) : anyPage(pageSize, random);
        const isZero = zeros !== "as data" && data.every((byte) => byte === 0);
        return { offset, data: isZero ? undefined : data };
      });
      works.push({ block, pages });
    }
  }
  return works;
}

/** Takes the zero pages out, and makes their records of the main channel. */
function takeZeros(works: Work[], writer: MainChannelWriter): Uint8Array[] {
  return works.map((work) => {
    const zeros = work.pages.filter(({ data }) => data === undefined);
    work.pages = work.pages.filter(({ data }) => data !== undefined);
    return writer.zeroPages(work.block, zeros.map(({ offset }) => offset));
  });
}

interface Planned {
  flags: number;
  packetNum: number;
  work: Work | undefined;
}

/** The channels of a source: works and SYNCs first, then bytes. */
class Channels {
  readonly #source: Source;
  readonly #uuid: Uint8Array;
  readonly #random: Random;
  readonly #planned: Planned[][];
  #packets = 0;

  constructor(source: Source, uuid: Uint8Array, random: Random) {
    this.#source = source;
    this.#uuid = uuid;
    this.#random = random;
    this.#planned = Array.from({ length: source.channels }, () => []);
  }

  /** Shares works among the channels. */
  add(works: readonly Work[]): void {
    for (const work of works) {
      if (work.pages.length === 0) continue;
      // those with data come first
      work.pages.sort((a, b) => Number(a.data === undefined) - Number(b.data === undefined));
      this.#random.pick(this.#planned).push({ flags: 0, packetNum: this.#packets++, work });
    }
  }

  /** Ends a round on every channel; an old source may do it with a packet of pages. */
  sync(): void {
    for (const channel of this.#planned) {
      const last = channel.at(-1);
      const rides = this.#source.isOld && last?.flags === 0 && this.#random.below(2) === 0;
      if (rides) last.flags = FLAG_SYNC;
      else channel.push({ flags: FLAG_SYNC, packetNum: this.#packets++, work: undefined });
    }
  }

  /** Everything each channel sends. */
  async encode(): Promise<Packet[][]> {
    const channels: Packet[][] = [];
    for (const [id, planned] of this.#planned.entries()) {
      // an old source may send an empty packet behind the last SYNC
      if (this.#source.isOld && this.#random.below(2) === 0) {
        planned.push({ flags: 0, packetNum: this.#packets++, work: undefined });
      }
      const greeting = encodeGreeting({ id, uuid: this.#uuid });
      const nothing = new Uint8Array(0);
      channels.push([{ header: greeting, payload: nothing }, ...await this.#encode(planned)]);
    }
    return channels;
  }

  async #encode(planned: readonly Planned[]): Promise<Packet[]> {
    const { method, pageSize } = this.#source;
    const data = planned.flatMap(({ work }) => {
      const pages = work?.pages.flatMap(({ data }) => data ?? []) ?? [];
      return pages.length > 0 ? [joined(pages)] : [];
    });
    const payloads = await encodeChannel(method, data, pageSize, this.#random);
    return planned.map((plan) => {
      const hasData = plan.work?.pages[0]?.data !== undefined;
      return this.#packet(plan, hasData ? payloads.shift()! : new Uint8Array(0));
    });
  }

  #packet({ flags, packetNum, work }: Planned, payload: Uint8Array): Packet {
    const { pageSize, method, isOld } = this.#source;
    const capacity = PACKET_SIZE / pageSize;
    const pages = work?.pages ?? [];
    const zeroPages = pages.filter(({ data }) => data === undefined).length;
    const header = new Uint8Array(ramPacketHeaderSize(pageSize));
    encodeRamPacket(
      {
        flags: work === undefined ? flags : flags | methodByName(method)!.flag,
        packetNum,
        pagesAlloc: work === undefined && !isOld ? 0 : capacity,
        nextPacketSize: payload.length,
        normalPages: pages.length - zeroPages,
        zeroPages,
        block: work?.block,
        offsets: Float64Array.from(pages, ({ offset }) => offset),
      },
      pageSize,
      header,
    );
    return { header, payload };
  }
}

/** The recordings that are small, by their folder's name, and the method of each. */
const RECORDINGS: Record<string, string> = {
  none: "none",
  "zlib-3-channels": "zlib",
  zstd: "zstd",
  qpl: "qpl",
  qatzip: "qatzip",
  "qemu-7.2-zlib": "zlib",
  "zstd-legacy-zero-pages": "zstd",
};

const kept = new Map<string, Migration>();

/** A migration that two QEMUs had. */
export function takeRecording(random: Random): Migration {
  const taken = recordingOf(random.pick(Object.keys(RECORDINGS)));
  const channels = taken.channels.map((packets) => [...packets]);
  return { main: [...taken.main], channels, options: { ...taken.options } };
}

function recordingOf(folder: string): Migration {
  const taken = kept.get(folder) ?? readRecording(folder);
  kept.set(folder, taken);
  return taken;
}

/** Every recorded channel of a method: its packets with data, in order. */
export function recordedPayloads(method: string): { pages: number; payload: Uint8Array }[][] {
  return Object.keys(RECORDINGS).filter((folder) => RECORDINGS[folder] === method)
    .flatMap((folder) => recordingOf(folder).channels)
    .map((packets) =>
      packets.filter(({ payload }) => payload.length > 0).map(({ header, payload }) => ({
        pages: new DataView(header.buffer).getUint32(16),
        payload,
      }))
    );
}

function readRecording(folder: string): Migration {
  const url = new URL(`../testdata/recordings/${folder}/expected.json`, import.meta.url);
  const { streams } = JSON.parse(fs.readFileSync(url, "utf8")) as { streams: object };
  const channels = Object.keys(streams)
    .filter((name) => name !== "main.bin")
    .map((name) => splitPackets(recording(`${folder}/${name}`)));
  const options = { pageSize: 4096, channels: channels.length };
  return { main: [recording(`${folder}/main.bin`)], channels, options };
}

/** Cuts a valid channel of 4 KiB pages into greeting and packets. */
function splitPackets(bytes: Uint8Array): Packet[] {
  const size = ramPacketHeaderSize(4096);
  const packets = [{ header: bytes.slice(0, GREETING_SIZE), payload: new Uint8Array(0) }];
  for (let at = GREETING_SIZE; at < bytes.length;) {
    const header = bytes.slice(at, at + size);
    const view = new DataView(header.buffer);
    const hasPages = view.getUint32(16) > 0;
    const end = at + size + (hasPages ? view.getUint32(20) : 0);
    packets.push({ header, payload: bytes.slice(at + size, end) });
    at = end;
  }
  return packets;
}
