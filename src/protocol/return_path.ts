/** The return path: the main connection in the other direction. */
import { ProtocolError } from "../errors.ts";
import { viewOf } from "./bytes.ts";

const SHUT = 1;
const PONG = 2;
const SWITCHOVER_ACK = 7;
/** The head of a TLS record: type 21, then version 3.x. */
const TLS_ALERT = 0x1503;
const MESSAGE_NAMES = [
  "",
  "SHUT",
  "PONG",
  "REQ_PAGES_ID",
  "REQ_PAGES",
  "RECV_BITMAP",
  "RESUME_ACK",
];

/** A message of the destination to the source. */
export type ReturnPathMessage =
  | { /** The destination is done; status 0 is "loaded well". */ type: "shut"; status: number }
  | { /** Answer to a ping. */ type: "pong"; value: number }
  | { /** The destination agrees to the switch-over. */ type: "switchover-ack" };

/**
 * Makes a return-path message: u16 type, u16 length, payload.
 *
 * @param message The message.
 * @returns Its bytes.
 */
export function encodeReturnPathMessage(message: ReturnPathMessage): Uint8Array {
  if (message.type === "switchover-ack") return new Uint8Array([0, SWITCHOVER_ACK, 0, 0]);
  const bytes = new Uint8Array(8);
  const view = viewOf(bytes);
  view.setUint16(0, message.type === "shut" ? SHUT : PONG);
  view.setUint16(2, 4);
  view.setUint32(4, message.type === "shut" ? message.status : message.value);
  return bytes;
}

/** Reads return-path messages from pieces of any size. */
export class ReturnPathReader {
  #held: Uint8Array = new Uint8Array(0);

  /**
   * Takes the next bytes.
   *
   * @param chunk Bytes in the order they came.
   * @returns The messages that are complete now.
   * @throws {ProtocolError} On a message that a multifd source cannot use.
   */
  push(chunk: Uint8Array): ReturnPathMessage[] {
    const bytes = new Uint8Array(this.#held.length + chunk.length);
    bytes.set(this.#held);
    bytes.set(chunk, this.#held.length);
    const view = viewOf(bytes);
    const messages: ReturnPathMessage[] = [];
    let at = 0;
    while (bytes.length - at >= 4) {
      const type = view.getUint16(at);
      const length = view.getUint16(at + 2);
      if (type === TLS_ALERT) throw new ProtocolError("Destination speaks TLS only (see --tls-ca)");
      if (type !== SHUT && type !== PONG && type !== SWITCHOVER_ACK) {
        throw new ProtocolError("Return path has a message that is not part of this migration", {
          channel: "main",
          received: MESSAGE_NAMES[type] || `type ${type}`,
        });
      }
      const expected = type === SWITCHOVER_ACK ? 0 : 4;
      if (length !== expected) {
        throw new ProtocolError("Return-path message has a wrong length", {
          channel: "main",
          expected,
          received: length,
        });
      }
      if (bytes.length - at < 4 + length) break;
      if (type === SHUT) messages.push({ type: "shut", status: view.getUint32(at + 4) });
      else if (type === PONG) messages.push({ type: "pong", value: view.getUint32(at + 4) });
      else messages.push({ type: "switchover-ack" });
      at += 4 + length;
    }
    this.#held = bytes.slice(at);
    return messages;
  }
}
