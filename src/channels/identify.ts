/** What a new connection is: its first four bytes tell, never the order of arrival. */
import { PeerClosedError, ProtocolError } from "../errors.ts";
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
  | { /** A connection that was closed before it said anything. */ type: "silent" };

/**
 * Reads as much of a connection as tells what it is.
 *
 * @throws {ProtocolError} If it starts like neither kind of channel.
 * @throws {PeerClosedError} If it ends in the middle.
 */
export async function identify(connection: Connection): Promise<Identity> {
  const start = new Uint8Array(4);
  const read = await connection.read(start);
  if (read === 0) return { type: "silent" };
  if (read < start.length) throw cutShort(connection, "first bytes", start.length, read);
  const magic = viewOf(start).getUint32(0);
  if (magic === MAIN_MAGIC) return { type: "main", start };
  // the head of a TLS record: type 22, then version 3.x
  if (magic >>> 16 === 0x1603) {
    throw new ProtocolError(`Peer of ${connection.name} speaks TLS (see --tls-cert)`);
  }
  if (magic !== MULTIFD_MAGIC) {
    throw new ProtocolError(`First bytes of ${connection.name} are no channel's magic`, {
      expected: `${hex(MAIN_MAGIC)} or ${hex(MULTIFD_MAGIC)}`,
      received: hex(magic),
    });
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
