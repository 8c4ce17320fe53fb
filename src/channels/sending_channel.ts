/** A multifd channel on the sending side: pages in, packets out. */
import { andThen, type MaybePromise } from "../maybe_promise.ts";
import type { Method, MethodSender } from "../methods/method.ts";
import { MAX_PAYLOAD_SIZE } from "../methods/method.ts";
import { encodeGreeting } from "../protocol/greeting.ts";
import { PACKET_SIZE, pagesPerPacket, syncPacket } from "../protocol/ram_packet.ts";
import { RamPacketHeader, ramPacketHeaderSize } from "../protocol/ram_packet_header.ts";
import { takeAllPages, takeNoPages } from "../ram/sort_pages.ts";
import type { RamSource } from "../ram/target.ts";
import { allocate, type Connection } from "../transport/connection.ts";
import { ChannelClock, type ChannelCounters, makeCounters } from "./counters.ts";
import { type PageLoops, pageLoops } from "./page_loops.ts";
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
  source: Pick<RamSource, "blocks" | "read" | "isZero">;
  /** What there is to send. */
  work: PageWork;
  /** The loops over a packet's pages; in TypeScript where they are missing. */
  loops?: PageLoops | undefined;
  /** Sends zero pages on the main channel, for `legacy`. */
  sendZeroPages: (block: string, offsets: Float64Array) => Promise<void> | void;
  /** The rate that all channels keep to; undefined for none. */
  limit?: Pick<RateLimit, "reserve" | "isDue" | "until"> | undefined;
  /** Counters that another thread reads. */
  counters?: ChannelCounters | undefined;
}

/** What a channel that was started has sent. */
export interface SendingRun {
  /** The greeting and the set-up SYNC. */
  begun: Promise<void>;
  /** All pages, the SYNC of their round and that of RAM's end. */
  sent: Promise<void>;
}

/** A packet as it is on the wire, while it is made or kept. */
interface PacketBuffer {
  bytes: Uint8Array;
  header: RamPacketHeader;
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
    const { connection, pageSize, loops } = this.#options;
    const headerSize = ramPacketHeaderSize(pageSize);
    const bytes = allocate(connection, headerSize + MAX_PAYLOAD_SIZE);
    const header = new RamPacketHeader(pageSize, bytes.subarray(0, headerSize), loops);
    return { bytes, header, payload: bytes.subarray(headerSize) };
  }

  /** Sends the greeting and the SYNC of the set-up. */
  async begin(uuid: Uint8Array): Promise<void> {
    await this.#write(encodeGreeting({ id: this.counters.id, uuid }));
    await this.#sync();
  }

  /** Ends a round on this channel. */
  async #sync(): Promise<void> {
    const { header } = this.#packet;
    header.encode(syncPacket(this.#options.work.nextPacketNum()));
    this.counters.packets++;
    this.counters.syncs++;
    this.#clock.start();
    await this.#waitFor(header.bytes.length);
    await this.#write(header.bytes);
    this.#clock.waited();
  }

  /** Sends pages until there are no more, the SYNC of their round and that of RAM's end. */
  async sendAll(): Promise<void> {
    await this.#sendPages();
    await this.#sync();
    await this.#sync();
  }

  async #sendPages(): Promise<void> {
    const { source, work, pageSize, zeroPages: zeroMode } = this.#options;
    const { sortPages } = this.#options.loops ?? pageLoops;
    const sort = zeroMode === "none" ? takeAllPages : sortPages;
    // used again for each packet: thousands of arrays keep a thread's collector busy
    const buffer = allocate(this.#options.connection, PACKET_SIZE);
    const ordinals = new Uint32Array(pagesPerPacket(pageSize));
    const offsets = new Float64Array(ordinals.length);
    this.#clock.start();
    for (;;) {
      const turn = this.#options.connection.turn?.();
      if (turn !== undefined) {
        await turn;
        this.#clock.waited();
      }
      const run = work.next();
      if (run === undefined) break;
      const pages = buffer.subarray(0, run.length);
      const isZero = zeroMode !== "none" &&
        source.isZero?.(run.block, run.offset, run.length) === true;
      if (!isZero) source.read(run.block, run.offset, pages);
      const block = source.blocks[run.block]!.name;
      let count = run.length / pageSize;
      const sortThese = isZero ? takeNoPages : sort;
      const normalPages = sortThese(pages, pageSize, run.offset, ordinals, offsets);
      if (zeroMode === "legacy" && normalPages < count) {
        await this.#options.sendZeroPages(block, offsets.slice(normalPages, count));
        count = normalPages;
      }
      if (count === 0) {
        this.#clock.start();
        continue;
      }
      const sent = this.#sendPacket(
        block,
        offsets.subarray(0, count),
        pages,
        ordinals.subarray(0, normalPages),
      );
      if (sent !== undefined) await sent;
    }
    this.#clock.start();
    await this.#sendKept();
    this.#clock.waited();
  }

  /** Sends a packet; `offsets` are of the normal pages, then of zero pages. */
  #sendPacket(
    block: string,
    offsets: Float64Array,
    pages: Uint8Array,
    normal: Uint32Array,
  ): MaybePromise<void> {
    const { connection, method, sender, pageSize, work } = this.#options;
    const { header, payload } = this.#packet;
    const normalPages = normal.length;
    const isPlain = method.name === "none";
    // uncompressed pages go out from where they are, where the connection can do that
    const isScattered = isPlain && connection.writePages !== undefined;
    const joined = isScattered ? pages : joinPages(pages, pageSize, normal);
    this.#clock.start();
    const send = (nextPacketSize: number): MaybePromise<void> => {
      if (!isPlain && normalPages > 0) this.#clock.computed();
      header.encode({
        flags: method.flag,
        packetNum: work.nextPacketNum(),
        pagesAlloc: pagesPerPacket(pageSize),
        nextPacketSize,
        normalPages,
        zeroPages: offsets.length - normalPages,
        block,
        offsets,
      });
      this.counters.packets++;
      this.counters.normalPages += normalPages;
      this.counters.zeroPages += offsets.length - normalPages;
      const sent = isScattered
        ? this.#writeScattered(pages, normal)
        : this.#writePacket(nextPacketSize, isPlain ? joined : undefined);
      return andThen(sent, () => this.#clock.waited());
    };
    if (isPlain) return send(normalPages * pageSize);
    return andThen(normalPages > 0 ? sender.prepare(joined, payload) : 0, send);
  }

  /** Writes the packet with pages from where they are. */
  #writeScattered(pages: Uint8Array, normal: Uint32Array): MaybePromise<void> {
    const { connection, pageSize } = this.#options;
    const { bytes } = this.#packet.header;
    return andThen(this.#waitFor(bytes.length + normal.length * pageSize), () => {
      connection.writePages!(bytes, pages, normal, pageSize);
      this.counters.bytes = connection.bytesWritten;
    });
  }

  /** Writes the packet; its payload is in its buffer where it is not given. */
  #writePacket(size: number, payload: Uint8Array | undefined): MaybePromise<void> {
    const { bytes, header } = this.#packet;
    const all = header.bytes.length + size;
    if (payload === undefined || size === 0) return this.#writeOrKeep(bytes.subarray(0, all));
    return andThen(this.#waitFor(all), () => this.#write(header.bytes, payload));
  }

  /** Waits until some bytes may go out. */
  #waitFor(bytes: number): MaybePromise<void> {
    const { limit } = this.#options;
    return limit?.until(limit.reserve(bytes));
  }

  /** Writes a packet; one whose time has not come is kept, and the next is made meanwhile. */
  #writeOrKeep(packet: Uint8Array): MaybePromise<void> {
    const { limit } = this.#options;
    if (limit === undefined) return this.#write(packet);
    return andThen(this.#sendKept(), () => {
      const at = limit.reserve(packet.length);
      if (limit.isDue(at)) return this.#write(packet);
      this.#kept = { packet, at };
      [this.#packet, this.#spare] = [this.#spare!, this.#packet];
    });
  }

  async #sendKept(): Promise<void> {
    if (this.#kept === undefined) return;
    const { packet, at } = this.#kept;
    this.#kept = undefined;
    await this.#options.limit!.until(at);
    await this.#write(packet);
  }

  #write(bytes: Uint8Array, more?: Uint8Array): MaybePromise<void> {
    const { connection } = this.#options;
    return andThen(connection.write(bytes, more), () => {
      this.counters.bytes = connection.bytesWritten;
    });
  }
}

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
