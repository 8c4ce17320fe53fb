/**
 * What a compression method is: a wire format and the checks on it, with the
 * life cycle of QEMU's method table (set up, prepare or receive, clean up, per
 * channel and direction).
 *
 * @module
 */
import { ProtocolError } from "../errors.ts";
import type { CodecFormat, Engine, EngineCounts } from "../engines/engine.ts";
import type { MaybePromise } from "../maybe_promise.ts";

/** What a method's side of a channel is set up with. */
export interface MethodContext {
  /** The guest's page size in bytes. */
  pageSize: number;
  /** What computes the method's format; undefined for `none`. */
  engine: Engine | undefined;
  /** Compression level, within the method's `levels`. */
  level: number;
  /** Whether qpl, uadk and zstd at level 1 compress more, more slowly. */
  dense?: boolean | undefined;
  /** Whether software may step in for a device that is busy or fails. Default true. */
  fallback?: boolean | undefined;
  /** Whether uadk compresses its pages; only receivers with the device can read that. */
  uadkCompress?: boolean | undefined;
}

/** The sending side of a method on one channel. */
export interface MethodSender {
  /**
   * Makes the payload of a packet.
   *
   * @param pages The packet's normal pages, one after another.
   * @param out Where the payload goes: at least 1 MiB.
   * @returns Bytes of payload.
   */
  prepare(pages: Uint8Array, out: Uint8Array): MaybePromise<number>;
  /** What became of the pages so far, where the engine has a device. */
  counts?(): EngineCounts | undefined;
  /** Cleans up; called once. */
  cleanup(): void;
}

/** The receiving side of a method on one channel. */
export interface MethodReceiver {
  /**
   * Turns a payload back into pages and proves it to the byte.
   *
   * @param payload The whole payload, its size checked with `checkPayloadSize`.
   * @param pages Where the pages go: exactly the packet's normal pages.
   */
  receive(payload: Uint8Array, pages: Uint8Array): MaybePromise<void>;
  /** What became of the pages so far, where the engine has a device. */
  counts?(): EngineCounts | undefined;
  /** Cleans up; called once. */
  cleanup(): void;
}

/** A compression method. */
export interface Method {
  /** Its name, as QEMU's `multifd-compression` takes it. */
  readonly name: string;
  /** Its value in the method bits of a packet's flags. */
  readonly flag: number;
  /** Lowest, default and highest level; undefined where it has none. */
  readonly levels: { min: number; default: number; max: number } | undefined;
  /** The compressed format its engine must know; undefined for none. */
  readonly format: CodecFormat | undefined;
  /**
   * Checks a payload's announced size before a byte of it is read.
   *
   * @param size Bytes of payload announced.
   * @param normalPages Pages in the packet, at least 1.
   * @param pageSize The guest's page size in bytes.
   * @throws {ProtocolError} When no such payload can be right.
   */
  checkPayloadSize(size: number, normalPages: number, pageSize: number): void;
  /** Sets up the sending side on a channel. */
  sendSetup(context: MethodContext): MaybePromise<MethodSender>;
  /** Sets up the receiving side on a channel. */
  receiveSetup(context: MethodContext): MaybePromise<MethodReceiver>;
}

/** Most payload of a packet in any method: 2 * 512 KiB. */
export const MAX_PAYLOAD_SIZE = 1024 * 1024;

/**
 * The check of the methods whose payload is one piece.
 *
 * @param size Bytes of payload announced.
 * @throws {ProtocolError} When it is empty or larger than 1 MiB.
 */
export function checkStreamPayloadSize(size: number): void {
  if (size === 0 || size > MAX_PAYLOAD_SIZE) {
    throw new ProtocolError("Payload has an impossible size", {
      expected: `1 to ${MAX_PAYLOAD_SIZE} bytes`,
      received: size,
    });
  }
}
