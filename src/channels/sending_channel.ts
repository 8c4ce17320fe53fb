/** A multifd channel on the sending side: pages in, packets out. */
import type { Method, MethodSender } from "../methods/method.ts";
import { MAX_PAYLOAD_SIZE } from "../methods/method.ts";
import { encodeGreeting } from "../protocol/greeting.ts";
import {
  encodeRamPacket,
  PACKET_SIZE,
  pagesPerPacket,
  ramPacketHeaderSize,
  syncPacket,
} from "../protocol/ram_packet.ts";
import type { RamSource } from "../ram/target.ts";
import { isZeroPage } from "../ram/zero_page.ts";
import { allocate, type Connection } from "../transport/connection.ts";
import { ChannelClock, type ChannelCounters, makeCounters } from "./counters.ts";
import type { PageWork } from "./page_work.ts";
import type { RateLimit } from "./rate_limit.ts";

/** Where zero pages are looked for and travel, as QEMU's zero-page-detection. */
export type ZeroPages = "multifd" | "legacy" | "none";

/** What a sending channel needs. */
export interface SendingChannelOptions {
  /** Channel number. */
  id: number;
  /** Connected, nothing sent yet. */
  connection: Connection;
  /** The migration's method. */
  method: Method;
  /** The method's side of this channel, set up. */
  sender: MethodSender;
  /** The guest's page size in bytes. */
  pageSize: number;
  /** Where zero pages travel. */
  zeroPages: ZeroPages;
  /** The RAM. */
  source: Pick<RamSource, "blocks" | "read">;
  /** What there is to send. */
  work: PageWork;
  /** Finds zero pages; in TypeScript where it is missing. */
  sortPages?: PageSorter | undefined;
  /** Sends zero pages on the main channel, for `legacy`. */
  sendZeroPages: (block: string, offsets: Float64Array) => Promise<void> | void;
  /** The rate that all channels keep to; undefined for none. */
  limit?: Pick<RateLimit, "reserve" | "isDue" | "until"> | undefined;
  /** Counters that another thread reads. */
  counters?: ChannelCounters | undefined;
}

/** A packet as it is on the wire, while it is made or kept. */
interface PacketBuffer {
  bytes: Uint8Array;
  header: Uint8Array;
  payload: Uint8Array;
}

/** Sends greeting, packets and SYNCs on one connection. */
export class SendingChannel {
  /** What went out so far. */
  readonly counters: ChannelCounters;
  readonly #options: SendingChannelOptions;
  readonly #clock: ChannelClock;
  #packet: PacketBuffer;
  /** The other buffer, where there is a limit: its packet may wait while the next is made. */
  #spare: PacketBuffer | undefined;
  #kept: { packet: Uint8Array; at: number } | undefined;

  constructor(options: SendingChannelOptions) {
    this.#options = options;
    this.counters = options.counters ?? makeCounters(options.id);
    this.#clock = new ChannelClock(this.counters);
    this.#packet = this.#makeBuffer();
    if (options.limit !== undefined) this.#spare = this.#makeBuffer();
  }

  #makeBuffer(): PacketBuffer {
    const headerSize = ramPacketHeaderSize(this.#options.pageSize);
    const bytes = allocate(this.#options.connection, headerSize + MAX_PAYLOAD_SIZE);
    return { bytes, header: bytes.subarray(0, headerSize), payload: bytes.subarray(headerSize) };
  }

  /** Sends the greeting. */
  async greet(uuid: Uint8Array): Promise<void> {
    await this.#write(encodeGreeting({ id: this.counters.id, uuid }));
  }

  /** Ends a round on this channel. */
  async sync(): Promise<void> {
    const packet = syncPacket(this.#options.work.nextPacketNum());
    const { header } = this.#packet;
    encodeRamPacket(packet, this.#options.pageSize, header);
    this.counters.packets++;
    this.counters.syncs++;
    this.#clock.start();
    await this.#waitFor(header.length);
    await this.#write(header);
    this.#clock.waited();
  }

  /** Sends pages until there are no more. */
  async sendAll(): Promise<void> {
    const { source, work, pageSize, zeroPages: zeroMode } = this.#options;
    const sort = zeroMode === "none" ? takeAll : this.#options.sortPages ?? sortPages;
    // used again for each packet: thousands of arrays keep a thread's collector busy
    const buffer = allocate(this.#options.connection, PACKET_SIZE);
    const normal = new Uint32Array(pagesPerPacket(pageSize));
    const zeros = new Uint32Array(normal.length);
    const offsets = new Float64Array(normal.length);
    for (let run = work.next(); run !== undefined; run = work.next()) {
      const pages = buffer.subarray(0, run.length);
      source.read(run.block, run.offset, pages);
      const block = source.blocks[run.block]!.name;
      let count = run.length / pageSize;
      const normalPages = sort(pages, pageSize, normal, zeros);
      for (let i = 0; i < count; i++) {
        const ordinal = i < normalPages ? normal[i]! : zeros[i - normalPages]!;
        offsets[i] = run.offset + ordinal * pageSize;
      }
      if (zeroMode === "legacy" && normalPages < count) {
        await this.#options.sendZeroPages(block, offsets.slice(normalPages, count));
        count = normalPages;
      }
      if (count === 0) continue;
      await this.#sendPages(
        block,
        offsets.subarray(0, count),
        pages,
        normal.subarray(0, normalPages),
      );
    }
    this.#clock.start();
    await this.#sendKept();
    this.#clock.waited();
  }

  /** Sends a packet; `offsets` are of the normal pages, then of zero pages. */
  async #sendPages(
    block: string,
    offsets: Float64Array,
    pages: Uint8Array,
    normal: Uint32Array,
  ): Promise<void> {
    const { connection, method, sender, pageSize, work } = this.#options;
    const { bytes, header, payload } = this.#packet;
    const normalPages = normal.length;
    const zeroPages = offsets.length - normalPages;
    const isPlain = method.name === "none";
    // uncompressed pages go out from where they are, where the connection can do that
    const isScattered = isPlain && connection.writePages !== undefined;
    const joined = isScattered ? pages : joinPages(pages, pageSize, normal);
    let nextPacketSize = 0;
    this.#clock.start();
    if (isPlain) {
      nextPacketSize = normalPages * pageSize;
    } else if (normalPages > 0) {
      nextPacketSize = await sender.prepare(joined, payload);
      this.#clock.computed();
    }
    encodeRamPacket(
      {
        flags: method.flag,
        packetNum: work.nextPacketNum(),
        pagesAlloc: pagesPerPacket(pageSize),
        nextPacketSize,
        normalPages,
        zeroPages,
        block,
        offsets,
      },
      pageSize,
      header,
    );
    this.counters.packets++;
    this.counters.normalPages += normalPages;
    this.counters.zeroPages += zeroPages;
    const size = header.length + nextPacketSize;
    if (isScattered) {
      await this.#waitFor(size);
      connection.writePages!(header, pages, normal, pageSize);
      this.counters.bytes = connection.bytesWritten;
    } else if (isPlain && normalPages > 0) {
      await this.#waitFor(size);
      await this.#write(header, joined);
    } else {
      await this.#writeOrKeep(bytes.subarray(0, size));
    }
    this.#clock.waited();
  }

  /** Waits until some bytes may go out. */
  async #waitFor(bytes: number): Promise<void> {
    const { limit } = this.#options;
    if (limit !== undefined) await limit.until(limit.reserve(bytes));
  }

  /** Writes a packet; one whose time has not come is kept, and the next is made meanwhile. */
  async #writeOrKeep(packet: Uint8Array): Promise<void> {
    const { limit } = this.#options;
    if (limit === undefined) return await this.#write(packet);
    await this.#sendKept();
    const at = limit.reserve(packet.length);
    if (limit.isDue(at)) return await this.#write(packet);
    this.#kept = { packet, at };
    [this.#packet, this.#spare] = [this.#spare!, this.#packet];
  }

  async #sendKept(): Promise<void> {
    if (this.#kept === undefined) return;
    const { packet, at } = this.#kept;
    this.#kept = undefined;
    await this.#options.limit!.until(at);
    await this.#write(packet);
  }

  async #write(bytes: Uint8Array, more?: Uint8Array): Promise<void> {
    await this.#options.connection.write(bytes, more);
    this.counters.bytes = this.#options.connection.bytesWritten;
  }
}

/**
 * Tells pages with data from zero pages: their ordinals, in order, go to two lists with room
 * for all. Returns how many have data.
 */
export type PageSorter = (
  pages: Uint8Array,
  pageSize: number,
  normal: Uint32Array,
  zeros: Uint32Array,
) => number;

const sortPages: PageSorter = (pages, pageSize, normal, zeros) => {
  const count = pages.length / pageSize;
  let withData = 0;
  for (let i = 0; i < count; i++) {
    const at = i * pageSize;
    if (isZeroPage(pages.subarray(at, at + pageSize))) zeros[i - withData] = i;
    else normal[withData++] = i;
  }
  return withData;
};

/** Takes every page as one with data. */
const takeAll: PageSorter = (pages, pageSize, normal) => {
  const count = pages.length / pageSize;
  for (let i = 0; i < count; i++) normal[i] = i;
  return count;
};

/** Moves the pages of some ordinals, in order, to the front of their buffer. */
function joinPages(pages: Uint8Array, pageSize: number, ordinals: Uint32Array): Uint8Array {
  const { length } = ordinals;
  for (let start = 0, end = 0; start < length; start = end) {
    const from = ordinals[start]!;
    for (end = start + 1; end < length && ordinals[end] === from + end - start;) end++;
    if (from === start) continue;
    pages.copyWithin(start * pageSize, from * pageSize, (from + end - start) * pageSize);
  }
  return pages.subarray(0, length * pageSize);
}
