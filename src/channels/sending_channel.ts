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
import type { Connection } from "../transport/connection.ts";
import { type ChannelCounters, makeCounters } from "./counters.ts";
import type { PageWork } from "./page_work.ts";

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
  /** Sends zero pages on the main channel, for `legacy`. */
  sendZeroPages: (block: string, offsets: Float64Array) => Promise<void> | void;
  /** Counters that another thread reads. */
  counters?: ChannelCounters | undefined;
}

/** Sends greeting, packets and SYNCs on one connection. */
export class SendingChannel {
  /** What went out so far. */
  readonly counters: ChannelCounters;
  readonly #options: SendingChannelOptions;
  readonly #header: Uint8Array;
  readonly #payload: Uint8Array;
  readonly #packet: Uint8Array;

  constructor(options: SendingChannelOptions) {
    this.#options = options;
    this.counters = options.counters ?? makeCounters(options.id);
    const headerSize = ramPacketHeaderSize(options.pageSize);
    this.#packet = new Uint8Array(headerSize + MAX_PAYLOAD_SIZE);
    this.#header = this.#packet.subarray(0, headerSize);
    this.#payload = this.#packet.subarray(headerSize);
  }

  /** Sends the greeting. */
  async greet(uuid: Uint8Array): Promise<void> {
    await this.#write(encodeGreeting({ id: this.counters.id, uuid }));
  }

  /** Ends a round on this channel. */
  async sync(): Promise<void> {
    const packet = syncPacket(this.#options.work.nextPacketNum());
    encodeRamPacket(packet, this.#options.pageSize, this.#header);
    this.counters.packets++;
    this.counters.syncs++;
    await this.#write(this.#header);
  }

  /** Sends pages until there are no more. */
  async sendAll(): Promise<void> {
    const { source, work, pageSize, zeroPages } = this.#options;
    const buffer = new Uint8Array(PACKET_SIZE);
    for (let run = work.next(); run !== undefined; run = work.next()) {
      const pages = buffer.subarray(0, run.length);
      source.read(run.block, run.offset, pages);
      const block = source.blocks[run.block]!.name;
      const sorted = sortPages(pages, run.offset, pageSize, zeroPages !== "none");
      let { offsets } = sorted;
      if (zeroPages === "legacy") {
        const zeros = offsets.subarray(sorted.normalPages);
        if (zeros.length > 0) await this.#options.sendZeroPages(block, zeros);
        offsets = offsets.subarray(0, sorted.normalPages);
      }
      if (offsets.length === 0) continue;
      await this.#sendPages(block, offsets, pages.subarray(0, sorted.normalPages * pageSize));
    }
  }

  /** Sends a packet; `offsets` are of the normal pages, then of zero pages. */
  async #sendPages(block: string, offsets: Float64Array, normal: Uint8Array): Promise<void> {
    const { method, sender, pageSize, work } = this.#options;
    const normalPages = normal.length / pageSize;
    const zeroPages = offsets.length - normalPages;
    // uncompressed pages go out from where they are
    const isPlain = method.name === "none";
    let nextPacketSize = 0;
    if (isPlain) nextPacketSize = normal.length;
    else if (normalPages > 0) nextPacketSize = await sender.prepare(normal, this.#payload);
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
      this.#header,
    );
    this.counters.packets++;
    this.counters.normalPages += normalPages;
    this.counters.zeroPages += zeroPages;
    if (isPlain && normalPages > 0) await this.#write(this.#header, normal);
    else await this.#write(this.#packet.subarray(0, this.#header.length + nextPacketSize));
  }

  async #write(bytes: Uint8Array, more?: Uint8Array): Promise<void> {
    await this.#options.connection.write(bytes, more);
    this.counters.bytes = this.#options.connection.bytesWritten;
  }
}

/** Moves normal pages to the front, in order; offsets come normal first, then zero. */
function sortPages(
  pages: Uint8Array,
  start: number,
  pageSize: number,
  detect: boolean,
): { offsets: Float64Array; normalPages: number } {
  const count = pages.length / pageSize;
  const offsets = new Float64Array(count);
  let normalPages = 0;
  let zeros = 0;
  for (let i = 0; i < count; i++) {
    const at = i * pageSize;
    if (detect && isZeroPage(pages.subarray(at, at + pageSize))) {
      offsets[count - ++zeros] = start + at;
      continue;
    }
    if (normalPages !== i) pages.copyWithin(normalPages * pageSize, at, at + pageSize);
    offsets[normalPages++] = start + at;
  }
  return { offsets, normalPages };
}
