/** `deflate-pages` and `zlib-pages` on node:zlib: one call per page. */
import type { ZlibOptions } from "node:zlib";
import { nodeZlib } from "../../builtin_modules.ts";
import type { PageDecoder, PageEncoder } from "../engine.ts";
import { inflateRaw, inflateZlib } from "./inflate.ts";

/** 2^12: a receiver's hardware has a window of 4 KiB. */
const WINDOW_BITS = 12;
/** What UADK writes; with a small window node:zlib would write `48 0d`. */
const ZLIB_HEADER = [0x78, 0x9c];

type Deflate = (page: Uint8Array, options: ZlibOptions) => Uint8Array;
type Inflate = typeof inflateRaw;

/** Pages as raw deflate streams. */
export const deflatePagesEncoder = (pageSize: number): PageEncoder =>
  encoder(nodeZlib().deflateRawSync, pageSize);
/** Pages as zlib streams. */
export const zlibPagesEncoder = (pageSize: number): PageEncoder => encoder(deflateZlib, pageSize);
/** Pages from raw deflate streams. */
export const deflatePagesDecoder = (pageSize: number): PageDecoder => decoder(inflateRaw, pageSize);
/** Pages from zlib streams, Adler-32 checked. */
export const zlibPagesDecoder = (pageSize: number): PageDecoder => decoder(inflateZlib, pageSize);

function deflateZlib(page: Uint8Array, options: ZlibOptions): Uint8Array {
  const packed = nodeZlib().deflateSync(page, options);
  packed.set(ZLIB_HEADER);
  return packed;
}

function encoder(deflate: Deflate, pageSize: number): PageEncoder {
  const options = { level: 1, windowBits: WINDOW_BITS, chunkSize: 2 * pageSize };
  return {
    encode(pages, out, lengths) {
      let at = 0;
      for (let i = 0; i < lengths.length; i++) {
        const page = pages.subarray(i * pageSize, (i + 1) * pageSize);
        const packed = deflate(page, options);
        const kept = packed.length < pageSize ? packed : page;
        out.set(kept, at);
        lengths[i] = kept.length;
        at += kept.length;
      }
      return at;
    },
    close() {},
  };
}

function decoder(inflate: Inflate, pageSize: number): PageDecoder {
  return {
    decode(payload, lengths, out) {
      let at = 0;
      for (let i = 0; i < lengths.length; i++) {
        const page = out.subarray(i * pageSize, (i + 1) * pageSize);
        const input = payload.subarray(at, at + lengths[i]!);
        if (input.length === pageSize) page.set(input);
        else inflate(input, page, { page: i });
        at += input.length;
      }
    },
    close() {},
  };
}
