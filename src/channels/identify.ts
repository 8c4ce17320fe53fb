/** What a new connection is: its first four bytes tell, never the order of arrival. */
import { type MultifdError, PeerClosedError, ProtocolError } from "../errors.ts";
import { hex, viewOf } from "../protocol/bytes.ts";
import {
  type Greeting,
  GREETING_SIZE,
  MULTIFD_MAGIC,
  parseGreeting,
} from "../protocol/greeting.ts";
import { MAIN_MAGIC } from "../protocol/main_channel.ts";
import type { Connection } from "../transport/connection.ts";

/** What a connection turned out to be. */
export type Identity =
  | { /** The main channel, and the bytes that told. */ type: "main"; start: Uint8Array }
  | { /** A multifd channel. */ type: "multifd"; greeting: Greeting }
  | {
    /** A connection that is none of the migration's, e.g. a port scanner's. */
    type: "stranger";
    /** How that is known. */
    error: MultifdError;
  };

/**
 * Reads as much of a connection as tells what it is.
 *
 * @throws {ProtocolError} If it greets like a channel, and wrongly.
 * @throws {PeerClosedError} If it ends in the middle of a greeting.
 */
export async function identify(connection: Connection): Promise<Identity> {
  const { name } = connection;
  const stranger = (error: MultifdError): Identity => ({ type: "stranger", error });
  const start = new Uint8Array(4);
  let read: number;
  try {
    read = await connection.read(start);
  } catch (error) {
    if (error instanceof PeerClosedError) return stranger(error);
    throw error;
  }
  if (read === 0) return stranger(new PeerClosedError(`Peer of ${name} said nothing`));
  if (read < start.length) {
    return stranger(cutShort(connection, "first bytes", start.length, read));
  }
  const magic = viewOf(start).getUint32(0);
  if (magic === MAIN_MAGIC) return { type: "main", start };
  // the head of a TLS record: type 22, then version 3.x
  if (magic >>> 16 === 0x1603) {
    return stranger(new ProtocolError(`Peer of ${name} speaks TLS (see --tls-cert)`));
  }
  if (magic !== MULTIFD_MAGIC) {
    const error = new ProtocolError(`First bytes of ${name} are no channel's magic`, {
      expected: `${hex(MAIN_MAGIC)} or ${hex(MULTIFD_MAGIC)}`,
      received: hex(magic),
    });
    return stranger(error);
  }
  const bytes = new Uint8Array(GREETING_SIZE);
  bytes.set(start);
  const more = await connection.read(bytes.subarray(start.length));
  if (start.length + more < GREETING_SIZE) {
    throw cutShort(connection, "greeting", GREETING_SIZE, start.length + more);
  }
  return { type: "multifd", greeting: parseGreeting(bytes) };
}

function cutShort(
  { name }: Connection,
  what: string,
  expected: number,
  received: number,
): PeerClosedError {
  return new PeerClosedError(`Peer closed ${name} inside its ${what}`, {
    expected: `${expected} bytes`,
    received,
  });
}
