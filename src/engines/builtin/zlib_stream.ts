/** `zlib-stream` on node:zlib's synchronous calls. */
import { nodeZlib } from "../../builtin_modules.ts";
import { CodecError, type PacketDecoder, type PacketEncoder } from "../engine.ts";
import { inflateRaw } from "./inflate.ts";

const WINDOW_SIZE = 32 * 1024;
const SYNC_FLUSH_TAIL = [0x00, 0x00, 0xff, 0xff];
/** An empty last block: behind anything but a whole block, it is no end. */
const LAST_BLOCK = [0x03, 0x00];

/** Each packet is compressed on its own: a stream may always start a new window. */
export function zlibStreamEncoder(level: number): PacketEncoder {
  const { Z_SYNC_FLUSH } = nodeZlib().constants;
  let first = true;
  return {
    encode(pages, out) {
      const head = first ? 2 : 0;
      if (first) out.set([0x78, 0x01]);
      first = false;
      const body = nodeZlib().deflateRawSync(pages, { level, finishFlush: Z_SYNC_FLUSH });
      out.set(body, head);
      return head + body.length;
    },
    close() {},
  };
}

/**
 * The window lives on from packet to packet: each call inflates it again, from a
 * stored block in front of the payload (Deno's node:zlib ignores a dictionary here).
 */
export function zlibStreamDecoder(): PacketDecoder {
  let first = true;
  let window: Uint8Array = new Uint8Array(0);
  return {
    decode(payload, out) {
      const head = first ? checkHeader(payload) : 0;
      const body = payload.subarray(head);
      first = false;
      // the next packet starts on a byte only after a sync flush
      if (!SYNC_FLUSH_TAIL.every((byte, i) => body[body.length - 4 + i] === byte)) {
        throw new CodecError("bad data", { code: "no sync flush at the end" });
      }
      const inflated = new Uint8Array(window.length + out.length);
      try {
        inflateRaw(wholeStream(window, body), inflated);
      } catch (error) {
        throw ofPayload(error as CodecError, payload, head, window.length);
      }
      out.set(inflated.subarray(window.length));
      window = inflated.subarray(-WINDOW_SIZE);
    },
    close() {},
  };
}

function checkHeader(payload: Uint8Array): number {
  const [cmf = 0, flg = 0] = payload;
  const isZlib = (cmf & 0x0f) === 8 && cmf >> 4 <= 7 && (cmf * 256 + flg) % 31 === 0;
  if (!isZlib || (flg & 0x20) !== 0) throw new CodecError("bad data", { code: "no zlib header" });
  return 2;
}

/** A stored block (RFC 1951, 3.2.4) that gives the window, then the payload, then an end. */
function wholeStream(window: Uint8Array, body: Uint8Array): Uint8Array {
  const start = window.length === 0 ? 0 : 5 + window.length;
  const input = new Uint8Array(start + body.length + LAST_BLOCK.length);
  if (start > 0) {
    const view = new DataView(input.buffer);
    view.setUint16(1, window.length, true);
    view.setUint16(3, ~window.length & 0xffff, true);
    input.set(window, 5);
  }
  input.set(body, start);
  input.set(LAST_BLOCK, start + body.length);
  return input;
}

/** The same error, without the window and the end that were put around the payload. */
function ofPayload(
  { fault, code, expected, received }: CodecError,
  payload: Uint8Array,
  head: number,
  window: number,
): CodecError {
  const facts = code === undefined ? {} : { code };
  if (expected === undefined) return new CodecError(fault, facts);
  if (fault === "left-over input") {
    const start = window === 0 ? 0 : 5 + window;
    return new CodecError(fault, { expected: expected - start + head, received: payload.length });
  }
  const came = received === undefined ? {} : { received: received - window };
  return new CodecError(fault, { ...facts, expected: expected - window, ...came });
}
