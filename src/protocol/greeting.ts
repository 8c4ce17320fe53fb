/** The greeting: the 64 bytes that open every multifd channel. */
import { ProtocolError } from "../errors.ts";
import { hex, viewOf } from "./bytes.ts";

/** First four bytes of a multifd channel and of each of its packets. */
export const MULTIFD_MAGIC = 0x11223344;
/** The one version of the multifd protocol. */
export const MULTIFD_VERSION = 1;
/** Bytes of a greeting. */
export const GREETING_SIZE = 64;

/** What a channel says of itself when it opens. */
export interface Greeting {
  /** Channel number, from 0. */
  id: number;
  /** The guest's UUID, 16 bytes; zeros where it has none. */
  uuid: Uint8Array;
}

/**
 * Reads a greeting.
 *
 * @param bytes The 64 bytes.
 * @returns The channel's id and the guest's uuid.
 * @throws {ProtocolError} On a wrong length, magic or version.
 */
export function parseGreeting(bytes: Uint8Array): Greeting {
  if (bytes.length !== GREETING_SIZE) {
    throw new ProtocolError("Greeting has a wrong length", {
      expected: GREETING_SIZE,
      received: bytes.length,
    });
  }
  const view = viewOf(bytes);
  const magic = view.getUint32(0);
  if (magic !== MULTIFD_MAGIC) {
    throw new ProtocolError("Greeting has a wrong magic", {
      expected: hex(MULTIFD_MAGIC),
      received: hex(magic),
    });
  }
  const version = view.getUint32(4);
  if (version !== MULTIFD_VERSION) {
    throw new ProtocolError("Greeting has a wrong version", {
      expected: MULTIFD_VERSION,
      received: version,
    });
  }
  return { id: bytes[24]!, uuid: bytes.slice(8, 24) };
}

/**
 * Makes a greeting.
 *
 * @param greeting The channel's id, 0 to 255, and the guest's uuid, 16 bytes.
 * @returns The 64 bytes.
 */
export function encodeGreeting(greeting: Greeting): Uint8Array {
  const bytes = new Uint8Array(GREETING_SIZE);
  const view = viewOf(bytes);
  view.setUint32(0, MULTIFD_MAGIC);
  view.setUint32(4, MULTIFD_VERSION);
  bytes.set(greeting.uuid.subarray(0, 16), 8);
  bytes[24] = greeting.id;
  return bytes;
}
