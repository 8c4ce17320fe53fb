/** The payloads of a recorded channel, decompressed to see whether they can be. */
import { decodePayload } from "../channels/decode.ts";
import type { AgreedMethod } from "../channels/channel_session.ts";
import { selectEngine } from "../engines/select.ts";
import { PeerClosedError, ProtocolError, VerificationError } from "../errors.ts";
import { MAX_PAYLOAD_SIZE, type MethodReceiver } from "../methods/method.ts";
import { methodByFlag } from "../methods/registry.ts";
import { hex, viewOf } from "../protocol/bytes.ts";
import { METHOD_MASK, PACKET_SIZE } from "../protocol/ram_packet.ts";
import type { WatchedFile } from "../ram/watched_file.ts";
import type { RecordedPacket } from "./items.ts";

/**
 * The one method of a recording. A packet's flags may be what is damaged, so only a payload that
 * they led through agrees on it.
 */
export class RecordedMethod {
  readonly #engine: string | undefined;
  #agreed: AgreedMethod | undefined;

  /** @param engine Name of the engine to decode with; undefined for the best. */
  constructor(engine: string | undefined) {
    this.#engine = engine;
  }

  /**
   * The method of a packet.
   *
   * @param flags The packet's flags.
   * @throws {ProtocolError} If there is none, or it is not the others'.
   * @throws {EngineUnavailableError} If the engine cannot do it.
   */
  of(flags: number): AgreedMethod {
    const method = methodByFlag(flags & METHOD_MASK);
    const received = method?.name ?? hex(flags & METHOD_MASK);
    if (method === undefined) {
      throw new ProtocolError("Packet has an unknown compression method", { received });
    }
    if (this.#agreed?.method === method) return this.#agreed;
    if (this.#agreed === undefined) {
      return { method, engine: selectEngine(method, "decodes", this.#engine) };
    }
    throw new ProtocolError("Packet has another compression method than was agreed", {
      expected: this.#agreed.method.name,
      received,
    });
  }

  /** A payload was decompressed with it. */
  agree(method: AgreedMethod): void {
    this.#agreed ??= method;
  }
}

/** Reads and decompresses the payloads of one channel, in their order. */
export class PayloadReader {
  readonly #file: WatchedFile;
  readonly #pageSize: number;
  readonly #payload = new Uint8Array(MAX_PAYLOAD_SIZE);
  readonly #pages = new Uint8Array(PACKET_SIZE);
  #receiver: MethodReceiver | undefined;
  /** Whether a stream over the packets is broken, which was told: until it starts anew. */
  #isLost = false;

  /**
   * @param file The channel's file.
   * @param pageSize The guest's page size in bytes.
   */
  constructor(file: WatchedFile, pageSize: number) {
    this.#file = file;
    this.#pageSize = pageSize;
  }

  /**
   * Gives a packet its `data` and `lengths`.
   *
   * @param packet A packet with normal pages.
   * @param agreed Its method.
   * @param at Where its payload begins in the file.
   * @throws {ProtocolError} If no payload can have its size.
   * @throws {PeerClosedError} If the file ends in it.
   * @throws {VerificationError} If it does not give its pages.
   */
  async read(packet: RecordedPacket, { method, engine }: AgreedMethod, at: number): Promise<void> {
    const { normalPages, payloadBytes } = packet;
    const pageSize = this.#pageSize;
    method.checkPayloadSize(payloadBytes, normalPages, pageSize);
    const payload = this.#payload.subarray(0, payloadBytes);
    const missing = payloadBytes - this.#file.read(at, payload);
    if (missing > 0) {
      throw new PeerClosedError(`Channel ends inside a payload, ${missing} bytes are missing`, {
        expected: `${payloadBytes} bytes`,
        received: payloadBytes - missing,
      });
    }
    const level = method.levels?.default ?? 0;
    this.#receiver ??= await method.receiveSetup({ pageSize, engine, level });
    const pages = this.#pages.subarray(0, normalPages * pageSize);
    const announced = { method: method.name, offsets: packet.pages, payload };
    const isStream = method.format === "zlib-stream" || method.format === "zstd-stream";
    try {
      await decodePayload(this.#receiver, announced, pages);
    } catch (error) {
      if (!(isStream && this.#isLost && error instanceof VerificationError)) throw error;
      this.skip();
      return;
    }
    this.#isLost = false;
    packet.data = pages;
    if (method.format === "deflate-pages" || method.format === "zlib-pages") {
      packet.lengths = lengthsOf(payload, normalPages);
    }
  }

  /** A payload was not decompressed: what builds on it cannot be, until a stream starts anew. */
  skip(): void {
    this.close();
    this.#isLost = true;
  }

  /** Gives the decoder back. */
  close(): void {
    this.#receiver?.cleanup();
    this.#receiver = undefined;
  }
}

/** The lengths at the head of a payload of single pages. */
function lengthsOf(payload: Uint8Array, pages: number): Uint32Array {
  const view = viewOf(payload);
  return Uint32Array.from({ length: pages }, (_, i) => view.getUint32(4 * i));
}
