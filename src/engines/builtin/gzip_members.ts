/** `gzip-members` on node:zlib: raw deflate inside, header and trailer of our own. */
import { nodeZlib } from "../../builtin_modules.ts";
import { CodecError, type PacketDecoder, type PacketEncoder } from "../engine.ts";
import {
  GZIP_TRAILER_SIZE,
  QZ_HEADER_SIZE,
  QZ_MEMBER_SOURCE_SIZE,
  readGzipHeader,
  writeQzHeader,
} from "../qz_member.ts";
import { asCodecError } from "./inflate.ts";

/** Members of at most 64 KiB of source, as QAT hardware emits them. */
export function gzipMembersEncoder(level: number): PacketEncoder {
  return {
    encode(pages, out) {
      const view = new DataView(out.buffer, out.byteOffset, out.byteLength);
      let at = 0;
      for (let start = 0; start < pages.length; start += QZ_MEMBER_SOURCE_SIZE) {
        const source = pages.subarray(start, start + QZ_MEMBER_SOURCE_SIZE);
        const body = nodeZlib().deflateRawSync(source, { level });
        writeQzHeader(out.subarray(at, at + QZ_HEADER_SIZE), source.length, body.length);
        out.set(body, at + QZ_HEADER_SIZE);
        at += QZ_HEADER_SIZE + body.length;
        view.setUint32(at, nodeZlib().crc32(source), true);
        view.setUint32(at + 4, source.length, true);
        at += GZIP_TRAILER_SIZE;
      }
      return at;
    },
    close() {},
  };
}

/** Reads any gzip members, QATzip's or plain, and checks every size and CRC in them. */
export function gzipMembersDecoder(): PacketDecoder {
  return {
    decode(payload, out) {
      let at = 0;
      let filled = 0;
      while (at < payload.length) {
        if (filled === out.length) {
          throw new CodecError("left-over input", { expected: at, received: payload.length });
        }
        const member = decodeMember(payload.subarray(at), out.subarray(filled));
        at += member.used;
        filled += member.size;
      }
      if (filled < out.length) {
        throw new CodecError("too short", { expected: out.length, received: filled });
      }
    },
    close() {},
  };
}

function decodeMember(input: Uint8Array, out: Uint8Array): { used: number; size: number } {
  const header = readGzipHeader(input);
  const body = input.subarray(header.size);
  let info: { buffer: Uint8Array; engine: { bytesWritten: number } };
  try {
    info = nodeZlib().inflateRawSync(body, {
      info: true,
      chunkSize: Math.max(64, Math.min(out.length, QZ_MEMBER_SOURCE_SIZE)),
      maxOutputLength: out.length,
    }) as unknown as typeof info;
  } catch (error) {
    throw asCodecError(error, out.length);
  }
  const { buffer: source, engine: { bytesWritten: deflated } } = info;
  if (deflated + GZIP_TRAILER_SIZE > body.length) {
    throw new CodecError("too short", {
      expected: header.size + deflated + GZIP_TRAILER_SIZE,
      received: input.length,
    });
  }
  const view = new DataView(body.buffer, body.byteOffset + deflated, GZIP_TRAILER_SIZE);
  const crc = nodeZlib().crc32(source);
  if (view.getUint32(0, true) !== crc) {
    throw new CodecError("bad data", {
      code: "CRC-32 differs",
      expected: view.getUint32(0, true),
      received: crc,
    });
  }
  const sizes: [string, number, number][] = [["ISIZE", view.getUint32(4, true), source.length]];
  if (header.qz !== undefined) {
    sizes.push(["QZ source size", header.qz.source, source.length]);
    sizes.push(["QZ deflate size", header.qz.deflated, deflated]);
  }
  for (const [what, expected, received] of sizes) {
    if (expected !== received) {
      throw new CodecError("bad data", { code: `${what} is wrong`, expected, received });
    }
  }
  out.set(source);
  return { used: header.size + deflated + GZIP_TRAILER_SIZE, size: source.length };
}
