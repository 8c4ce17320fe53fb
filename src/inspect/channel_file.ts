/** A multifd channel of a recording, read as far as it goes and past what can be passed. */
import { type MultifdError, PeerClosedError, ProtocolError, UnsupportedError } from "../errors.ts";
import { methodByFlag } from "../methods/registry.ts";
import { viewOf } from "../protocol/bytes.ts";
import {
  DEVICE_STATE_HEADER_SIZE,
  parseDeviceStatePacket,
} from "../protocol/device_state_packet.ts";
import { type Greeting, GREETING_SIZE, parseGreeting } from "../protocol/greeting.ts";
import { FLAG_DEVICE_STATE, FLAG_SYNC, METHOD_MASK } from "../protocol/ram_packet.ts";
import {
  parsePacketStart,
  parseRamPacket,
  ramPacketHeaderSize,
} from "../protocol/ram_packet_header.ts";
import { WatchedFile } from "../ram/watched_file.ts";
import { type Damage, isDamage, type RecordedPacket } from "./items.ts";
import { ANY_BLOCK, type MainFile } from "./main_file.ts";
import { PayloadReader, type RecordedMethod } from "./payload.ts";

/** Bytes that RAM packets and device-state packets begin with, all of them known values. */
const START_SIZE = 12;

/** What is at a place of the file: a packet, something wrong, or a packet with that. */
interface Found {
  packet: RecordedPacket | undefined;
  error: MultifdError | undefined;
}

/** Where a packet is. */
interface Place {
  /** Its header, as much of it as the file has. */
  bytes: Uint8Array;
  /** Where that begins in the file. */
  at: number;
  /** Ordinal of the packet. */
  ordinal: number;
  /** SYNC packets before it. */
  syncs: number;
}

/** What a channel is read with. */
interface Context {
  main: MainFile;
  method: RecordedMethod;
  payloads: PayloadReader;
}

/** `ch<n>.bin`. */
export class ChannelFile {
  /** Channel number: its greeting's, or its file's where that cannot be read. */
  readonly id: number;
  /** The guest's uuid as the greeting tells it. */
  readonly uuid: Uint8Array | undefined;
  /** Bytes of the file. */
  readonly size: number;
  /** Bytes that could be read. */
  bytesRead = 0;
  readonly #file: WatchedFile;
  readonly #greetingError: MultifdError | undefined;

  /**
   * Opens it and reads its greeting.
   *
   * @param path The file.
   * @param number The number in its name.
   * @throws {ImageError} If it cannot be read.
   */
  constructor(path: string, number: number) {
    this.#file = new WatchedFile(path);
    this.size = this.#file.size;
    let greeting: Greeting | undefined;
    try {
      greeting = this.#readGreeting();
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.#greetingError = error.locate({ channel: number, offset: 0 });
    }
    this.id = greeting?.id ?? number;
    this.uuid = greeting?.uuid;
  }

  #readGreeting(): Greeting {
    const bytes = new Uint8Array(GREETING_SIZE);
    const read = this.#file.read(0, bytes);
    if (read === GREETING_SIZE) return parseGreeting(bytes);
    throw new PeerClosedError("Channel ends inside its greeting", {
      expected: `${GREETING_SIZE} bytes`,
      received: read,
    });
  }

  /**
   * Reads its packets.
   *
   * @param main The main channel, read.
   * @param method The one method of the recording.
   * @returns Each packet; what is wrong with it follows it.
   * @throws {ImageError} If it cannot be read.
   */
  async *read(
    main: MainFile,
    method: RecordedMethod,
  ): AsyncGenerator<RecordedPacket | Damage, void, void> {
    const header = new Uint8Array(ramPacketHeaderSize(main.pageSize));
    const payloads = new PayloadReader(this.#file, main.pageSize);
    let at = Math.min(GREETING_SIZE, this.size);
    this.bytesRead = at;
    let syncs = 0;
    let isDamaged = this.#greetingError !== undefined;
    if (this.#greetingError !== undefined) {
      yield this.#damage(this.#greetingError, 0, at < this.size);
    }
    try {
      for (let ordinal = 0; at < this.size; ordinal++) {
        const bytes = header.subarray(0, this.#file.read(at, header));
        const place = { bytes, at, ordinal, syncs };
        const { packet, error } = await this.#packetAt(place, { main, method, payloads });
        if (packet !== undefined) yield packet;
        const next = at + announcedSize(bytes, header.length);
        if (error !== undefined) {
          isDamaged = true;
          if (next > at + bytes.length) payloads.skip();
          const isReadOn = this.#isPacketAt(next);
          yield this.#damage(error, at, isReadOn);
          if (!isReadOn) return;
        }
        if (isSync(bytes)) syncs++;
        at = next;
        this.bytesRead = Math.min(at, this.size);
      }
    } finally {
      payloads.close();
    }
    if (!isDamaged && main.isWhole && syncs !== main.markers) {
      yield this.#damage(wrongSyncs(main.markers, syncs).locate({ channel: this.id }), at, false);
    }
  }

  #damage(error: MultifdError, offset: number, isReadOn: boolean): Damage {
    return { type: "damage", channel: this.id, offset, isReadOn, error };
  }

  async #packetAt(place: Place, { main, method, payloads }: Context): Promise<Found> {
    const { bytes, at, ordinal, syncs } = place;
    let packet: RecordedPacket | undefined;
    try {
      packet = this.#parse(place, main);
      if (ordinal === 0 && (packet.flags & FLAG_SYNC) === 0) {
        throw new ProtocolError("Channel's first packet is not the set-up SYNC");
      }
      if (packet.block !== undefined) {
        if (main.isWhole && syncs >= main.markers) {
          throw new ProtocolError("Packet comes after the last SYNC", {
            received: packet.packetNum,
          });
        }
        const used = method.of(packet.flags);
        if (packet.normalPages > 0) {
          await payloads.read(packet, used, at + bytes.length);
          if (packet.data !== undefined) method.agree(used);
        }
      }
      return { packet, error: undefined };
    } catch (error) {
      if (!isDamage(error)) throw error;
      error.locate({ channel: this.id, packet: ordinal, block: packet?.block });
      // an offset is the block's where one is named
      if (error.facts.block === undefined) error.locate({ offset: at });
      return { packet, error };
    }
  }

  #parse({ bytes, at, ordinal, syncs }: Place, main: MainFile): RecordedPacket {
    const size = ramPacketHeaderSize(main.pageSize);
    const start = bytes.subarray(0, DEVICE_STATE_HEADER_SIZE);
    const isDeviceState = start.length === DEVICE_STATE_HEADER_SIZE &&
      (parsePacketStart(start) & FLAG_DEVICE_STATE) !== 0;
    if (isDeviceState) {
      const { idstr } = parseDeviceStatePacket(start);
      throw new UnsupportedError(`Packet is VFIO device state of "${idstr}"`);
    }
    if (bytes.length < size) {
      const missing = size - bytes.length;
      throw new PeerClosedError(
        `Channel ends inside a packet's header, ${missing} bytes are missing`,
        { expected: `${size} bytes`, received: bytes.length },
      );
    }
    const parsed = parseRamPacket(bytes, main.pageSize, main.blocks ?? ANY_BLOCK);
    const { packetNum, flags, block, normalPages, zeroPages, nextPacketSize, offsets } = parsed;
    return {
      type: "packet",
      channel: this.id,
      packet: ordinal,
      packetNum,
      offset: at,
      round: syncs + 1,
      flags,
      method: block === undefined ? undefined : methodByFlag(flags & METHOD_MASK)?.name,
      block,
      normalPages,
      zeroPages,
      pages: offsets,
      payloadBytes: normalPages > 0 ? nextPacketSize : 0,
      lengths: undefined,
      data: undefined,
    };
  }

  /** Whether a packet begins there, or the file ends: then it is worth reading on. */
  #isPacketAt(at: number): boolean {
    if (at === this.size) return true;
    const start = new Uint8Array(START_SIZE);
    if (this.#file.read(at, start) < START_SIZE) return false;
    try {
      parsePacketStart(start);
      return true;
    } catch {
      return false;
    }
  }

  /** Closes the file. */
  close(): void {
    this.#file.close();
  }
}

/** Bytes of a packet as its header says, damaged or not. */
function announcedSize(header: Uint8Array, headerSize: number): number {
  const view = viewOf(header);
  if (header.length >= START_SIZE && (view.getUint32(8) & FLAG_DEVICE_STATE) !== 0) {
    if (header.length < DEVICE_STATE_HEADER_SIZE) return headerSize;
    return DEVICE_STATE_HEADER_SIZE + view.getUint32(DEVICE_STATE_HEADER_SIZE - 4);
  }
  if (header.length < headerSize) return headerSize;
  const hasPayload = view.getUint32(16) > 0;
  return headerSize + (hasPayload ? view.getUint32(20) : 0);
}

function isSync(header: Uint8Array): boolean {
  return header.length >= START_SIZE && (viewOf(header).getUint32(8) & FLAG_SYNC) !== 0;
}

function wrongSyncs(expected: number, received: number): MultifdError {
  const facts = { expected: `${expected} SYNCs, as the main channel has markers`, received };
  return received < expected
    ? new PeerClosedError("Channel ends before the end of RAM", facts)
    : new ProtocolError("Channel has too many SYNCs", facts);
}
