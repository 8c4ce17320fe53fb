/** gzip members as QATzip writes them: RFC 1952 with an extra field "QZ" of two sizes. */
import { CodecError } from "./engine.ts";

/** Source bytes of a member: what QAT hardware takes at once. */
export const QZ_MEMBER_SOURCE_SIZE = 64 * 1024;
/** Bytes of a member's header with the QZ field. */
export const QZ_HEADER_SIZE = 24;
/** Bytes of a member's trailer: CRC-32 and source size. */
export const GZIP_TRAILER_SIZE = 8;

const FLAG_HCRC = 0x02;
const FLAG_EXTRA = 0x04;
const FLAG_NAME = 0x08;
const FLAG_COMMENT = 0x10;
const FLAGS_RESERVED = 0xe0;

/** A member's header. */
export interface GzipHeader {
  /** Bytes of the header. */
  size: number;
  /** The QZ field's two sizes in bytes, where the member has one. */
  qz: { source: number; deflated: number } | undefined;
}

/** Writes a member's header. */
export function writeQzHeader(out: Uint8Array, source: number, deflated: number): void {
  out.set([0x1f, 0x8b, 8, FLAG_EXTRA, 0, 0, 0, 0, 0, 255, 12, 0, 0x51, 0x5a, 8, 0]);
  const view = new DataView(out.buffer, out.byteOffset, out.byteLength);
  view.setUint32(16, source, true);
  view.setUint32(20, deflated, true);
}

/** Reads a member's header, with the QZ field or plain. */
export function readGzipHeader(bytes: Uint8Array): GzipHeader {
  const bad = (code: string): CodecError => new CodecError("bad data", { code });
  if (bytes.length < 10) {
    throw new CodecError("too short", { expected: 10, received: bytes.length });
  }
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b || bytes[2] !== 8) throw bad("no gzip header");
  const flags = bytes[3]!;
  if ((flags & FLAGS_RESERVED) !== 0) throw bad("gzip header has reserved flags");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 10;
  let qz: GzipHeader["qz"];
  if ((flags & FLAG_EXTRA) !== 0) {
    if (at + 2 > bytes.length) throw bad("gzip header is cut short");
    const end = at + 2 + view.getUint16(at, true);
    if (end > bytes.length) throw bad("gzip header is cut short");
    at += 2;
    while (at + 4 <= end) {
      const size = view.getUint16(at + 2, true);
      if (at + 4 + size > end) throw bad("gzip extra field is cut short");
      if (bytes[at] === 0x51 && bytes[at + 1] === 0x5a && size === 8) {
        qz = { source: view.getUint32(at + 4, true), deflated: view.getUint32(at + 8, true) };
      }
      at += 4 + size;
    }
    at = end;
  }
  for (const flag of [FLAG_NAME, FLAG_COMMENT]) {
    if ((flags & flag) === 0) continue;
    const nul = bytes.indexOf(0, at);
    if (nul < 0) throw bad("gzip header is cut short");
    at = nul + 1;
  }
  if ((flags & FLAG_HCRC) !== 0) at += 2;
  if (at > bytes.length) throw bad("gzip header is cut short");
  return { size: at, qz };
}
