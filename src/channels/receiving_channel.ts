/** A multifd channel on the receiving side: packets in, pages out, a stop at each SYNC. */
import type { Engine, EngineCounts } from "../engines/engine.ts";
import { MultifdError, PeerClosedError, ProtocolError, UnsupportedError } from "../errors.ts";
import { andThen, type MaybePromise } from "../maybe_promise.ts";
import type { Method, MethodReceiver } from "../methods/method.ts";
import { MAX_PAYLOAD_SIZE } from "../methods/method.ts";
import {
  DEVICE_STATE_HEADER_SIZE,
  parseDeviceStatePacket,
} from "../protocol/device_state_packet.ts";
import {
  FLAG_DEVICE_STATE,
  FLAG_SYNC,
  type RamBlock,
  type RamPacket,
} from "../protocol/ram_packet.ts";
import { type OffsetLoops, RamPacketHeader } from "../protocol/ram_packet_header.ts";
import { allocate, type Connection } from "../transport/connection.ts";
import { ChannelClock, type ChannelCounters, makeCounters } from "./counters.ts";
import { decodePayload } from "./decode.ts";
import { setUpReceiver } from "./verify.ts";
import { WriteBehind } from "./write_behind.ts";
import type { ChannelSession } from "./channel_session.ts";

/** Packets without pages in a row; QEMU 7.2 and 8 send one behind a SYNC. */
const MAX_EMPTY_PACKETS = 1024;
const NO_BLOCKS: ReadonlyMap<string, RamBlock> = new Map();

/** Reads one channel from after its greeting to its end. */
export class ReceivingChannel {
  /** What came so far. */
  readonly counters: ChannelCounters;
  readonly #connection: Connection;
  readonly #session: ChannelSession;
  readonly #clock: ChannelClock;
  readonly #written: WriteBehind;
  readonly #loops: OffsetLoops | undefined;
  #payload: Uint8Array | undefined;
  #receiver: MethodReceiver | undefined;
  #engineCounts: EngineCounts | undefined;

  constructor(
    id: number,
    connection: Connection,
    session: ChannelSession,
    counters: ChannelCounters = makeCounters(id),
    loops?: OffsetLoops,
  ) {
    this.#loops = loops;
    this.counters = counters;
    this.#clock = new ChannelClock(counters);
    this.#connection = connection;
    this.#session = session;
    this.#written = new WriteBehind((size) => allocate(connection, size));
  }

  /** What became of the pages so far, on an engine that has a device. */
  get engineCounts(): EngineCounts | undefined {
    return this.#receiver?.counts?.() ?? this.#engineCounts;
  }

  /**
   * Receives until the channel ends or RAM does.
   *
   * @throws {MultifdError} The first thing that is wrong, with channel and packet in it.
   */
  async run(): Promise<void> {
    const { counters } = this;
    let packet: RamPacket | undefined;
    let empty = 0;
    try {
      const pageSize = await this.#session.pageSize;
      const header = new RamPacketHeader(pageSize, undefined, this.#loops);
      // a device-state packet is shorter than any RAM header, and may be the last thing sent
      const start = header.bytes.subarray(0, DEVICE_STATE_HEADER_SIZE);
      const rest = header.bytes.subarray(DEVICE_STATE_HEADER_SIZE);
      for (;;) {
        packet = undefined;
        this.#clock.start();
        if (this.#session.isEnding && this.#connection.hasMore?.() === false) this.#session.quiet();
        const turn = this.#connection.turn?.();
        if (turn !== undefined) await turn;
        const read = this.#readHeader(header, start, rest);
        if (!(typeof read === "boolean" ? read : await read)) return;
        const blocks = counters.syncs > 0 ? this.#session.ram?.blocks : undefined;
        packet = header.parse(blocks ?? NO_BLOCKS);
        this.#checkNotOver(packet);
        this.#session.packetNumbers.add(packet);
        if (packet.normalPages === 0) this.#clock.waited();
        if (packet.block !== undefined) {
          const received = this.#receivePages(packet, pageSize);
          if (received !== undefined) await received;
        }
        counters.packets++;
        counters.bytes = this.#connection.bytesRead;
        const isSync = (packet.flags & FLAG_SYNC) !== 0;
        empty = isSync || packet.block !== undefined ? 0 : empty + 1;
        if (empty > MAX_EMPTY_PACKETS) {
          const expected = `at most ${MAX_EMPTY_PACKETS} in a row`;
          throw new ProtocolError("Channel sends one packet after another without pages", {
            expected,
          });
        }
        if (!isSync) continue;
        if (this.#session.ram !== undefined) this.#written.flush(this.#session.ram);
        counters.syncs++;
        await this.#session.barrier.stop(counters.id);
      }
    } catch (error) {
      // another channel's failure ends the waiting at a SYNC, too, and knows where it happened
      if (error instanceof MultifdError && error.facts.channel === undefined) {
        error.locate({ channel: counters.id, packet: counters.packets, block: packet?.block });
      }
      throw error;
    } finally {
      this.#engineCounts = this.engineCounts;
      this.#receiver?.cleanup();
      this.#receiver = undefined;
    }
  }

  /** Reads a header by its two parts; false at an end of the stream that is no failure. */
  #readHeader(
    header: RamPacketHeader,
    start: Uint8Array,
    rest: Uint8Array,
  ): MaybePromise<boolean> {
    const { length } = header.bytes;
    return andThen(this.#connection.read(start), (read) => {
      if (read === 0) return this.#end();
      if (read < start.length) throw this.#cutShort("a packet's header", length, read);
      const flags = header.parseStart();
      if (this.counters.syncs === 0 && (flags & FLAG_SYNC) === 0) {
        throw new ProtocolError("Channel's first packet is not the set-up SYNC");
      }
      if ((flags & FLAG_DEVICE_STATE) !== 0) {
        const { idstr } = parseDeviceStatePacket(start);
        throw new UnsupportedError(`Cannot take this migration: VFIO device state of "${idstr}"`);
      }
      return andThen(this.#connection.read(rest), (more) => {
        if (more === rest.length) return true;
        throw this.#cutShort("a packet's header", length, read + more);
      });
    });
  }

  #end(): boolean {
    if (this.#session.isEnding || this.#session.isOver) {
      this.#session.barrier.leave(this.counters.id);
      return false;
    }
    throw new PeerClosedError("Peer closed the channel before the end of RAM");
  }

  /** QEMU 7.2 and 8 may send an empty packet after the last SYNC; nothing else may come there. */
  #checkNotOver(packet: RamPacket): void {
    if (packet.block === undefined && (packet.flags & FLAG_SYNC) === 0) return;
    this.#session.begin(this.counters.id);
    if (!this.#session.isOver) return;
    throw new ProtocolError("Packet comes after the last SYNC", { received: packet.packetNum });
  }

  #cutShort(what: string, expected: number, received: number): PeerClosedError {
    return new PeerClosedError(
      `Peer closed the channel inside ${what}, ${expected - received} bytes are missing`,
      { expected: `${expected} bytes`, received },
    );
  }

  #receivePages(packet: RamPacket, pageSize: number): MaybePromise<void> {
    const { normalPages, zeroPages, nextPacketSize, offsets } = packet;
    const ram = this.#session.ram!;
    const finish = (): void => {
      if (zeroPages > 0) ram.zeroPages(packet.block!, offsets.subarray(normalPages));
      this.counters.normalPages += normalPages;
      this.counters.zeroPages += zeroPages;
    };
    const { method, engine } = this.#session.methodOf(packet.flags);
    if (normalPages === 0) {
      // what came first is written first
      this.#written.flush(ram);
      return finish();
    }
    method.checkPayloadSize(nextPacketSize, normalPages, pageSize);
    const pages = this.#written.room.subarray(0, normalPages * pageSize);
    // uncompressed pages need no second place
    const isPlain = method.name === "none";
    if (!isPlain) this.#payload ??= allocate(this.#connection, MAX_PAYLOAD_SIZE);
    const payload = isPlain ? pages : this.#payload!.subarray(0, nextPacketSize);
    const write = (): void => {
      this.#written.write(ram, {
        packet: this.counters.packets,
        block: packet.block!,
        offsets: zeroPages === 0 ? offsets : offsets.subarray(0, normalPages),
        pages,
      });
      finish();
    };
    return andThen(this.#connection.read(payload), (read) => {
      if (read < payload.length) throw this.#cutShort("a payload", payload.length, read);
      this.#clock.waited();
      if (isPlain) return write();
      return andThen(
        this.#receiver ?? this.#setUp(method, engine, pageSize),
        (receiver) =>
          andThen(decodePayload(receiver, { method: method.name, offsets, payload }, pages), () => {
            this.#clock.computed();
            write();
          }),
      );
    });
  }

  async #setUp(
    method: Method,
    engine: Engine | undefined,
    pageSize: number,
  ): Promise<MethodReceiver> {
    const { fallback, verify } = this.#session;
    const level = method.levels?.default ?? 0;
    const context = { pageSize, engine, level, fallback, verify };
    return this.#receiver = await setUpReceiver(
      method,
      context,
      () => this.counters.verifyCaught++,
    );
  }
}
