/** A multifd channel on the sending side: pages in, packets out. */
import type { Method, MethodSender } from "../methods/method.ts";
import { MAX_PAYLOAD_SIZE } from "../methods/method.ts";
import { encodeGreeting } from "../protocol/greeting.ts";
import {
  encodeRamPacket,
  pagesPerPacket,
  ramPacketHeaderSize,
  syncPacket,
} from "../protocol/ram_packet.ts";
import type { Connection } from "../transport/connection.ts";
import type { ChannelCounters } from "./receiving_channel.ts";

/** Sends greeting, packets and SYNCs on one connection. */
export class SendingChannel {
  /** What went out so far. */
  readonly counters: ChannelCounters;
  readonly #connection: Connection;
  readonly #method: Method;
  readonly #sender: MethodSender;
  readonly #pageSize: number;
  readonly #buffer: Uint8Array;

  /**
   * @param id Channel number.
   * @param connection Connected, nothing sent yet.
   * @param method The migration's method.
   * @param sender The method's side of this channel, set up.
   * @param pageSize The guest's page size in bytes.
   */
  constructor(
    id: number,
    connection: Connection,
    method: Method,
    sender: MethodSender,
    pageSize: number,
  ) {
    this.counters = { id, packets: 0, syncs: 0, normalPages: 0, zeroPages: 0, bytes: 0 };
    this.#connection = connection;
    this.#method = method;
    this.#sender = sender;
    this.#pageSize = pageSize;
    this.#buffer = new Uint8Array(ramPacketHeaderSize(pageSize) + MAX_PAYLOAD_SIZE);
  }

  /** Sends the greeting. */
  async greet(uuid: Uint8Array): Promise<void> {
    await this.#write(encodeGreeting({ id: this.counters.id, uuid }));
  }

  /** Ends a round on this channel. */
  async sync(packetNum: number): Promise<void> {
    encodeRamPacket(syncPacket(packetNum), this.#pageSize, this.#buffer);
    this.counters.packets++;
    this.counters.syncs++;
    await this.#write(this.#buffer.subarray(0, ramPacketHeaderSize(this.#pageSize)));
  }

  /**
   * Sends a packet of pages of one block.
   *
   * @param packetNum Its number over all channels together.
   * @param block The pages' block.
   * @param offsets Byte offsets: normal pages, then zero pages.
   * @param normal The normal pages' data, one after another.
   */
  async sendPages(
    packetNum: number,
    block: string,
    offsets: Float64Array,
    normal: Uint8Array,
  ): Promise<void> {
    const headerSize = ramPacketHeaderSize(this.#pageSize);
    const normalPages = normal.length / this.#pageSize;
    const zeroPages = offsets.length - normalPages;
    const nextPacketSize = normalPages > 0
      ? await this.#sender.prepare(normal, this.#buffer.subarray(headerSize))
      : 0;
    encodeRamPacket(
      {
        flags: this.#method.flag,
        packetNum,
        pagesAlloc: pagesPerPacket(this.#pageSize),
        nextPacketSize,
        normalPages,
        zeroPages,
        block,
        offsets,
      },
      this.#pageSize,
      this.#buffer,
    );
    this.counters.packets++;
    this.counters.normalPages += normalPages;
    this.counters.zeroPages += zeroPages;
    await this.#write(this.#buffer.subarray(0, headerSize + nextPacketSize));
  }

  async #write(bytes: Uint8Array): Promise<void> {
    await this.#connection.write(bytes);
    this.counters.bytes = this.#connection.bytesWritten;
  }

  /** Gives the method's side back. */
  close(): void {
    this.#sender.cleanup();
  }
}
