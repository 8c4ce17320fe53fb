/** The engine every runtime has: its own node:zlib. */
import { EngineUnavailableError } from "../errors.ts";
import type { CodecFormat, Engine } from "./engine.ts";
import { gzipMembersDecoder, gzipMembersEncoder } from "./builtin/gzip_members.ts";
import {
  deflatePagesDecoder,
  deflatePagesEncoder,
  zlibPagesDecoder,
  zlibPagesEncoder,
} from "./builtin/pages.ts";
import { zlibStreamDecoder, zlibStreamEncoder } from "./builtin/zlib_stream.ts";
import { zstdStreamDecoder, zstdStreamEncoder } from "./builtin/zstd_stream.ts";

function unknown(format: CodecFormat): never {
  throw new EngineUnavailableError(`Engine builtin cannot do ${format} this way`);
}

const FORMATS: readonly CodecFormat[] = [
  "zlib-stream",
  "zstd-stream",
  "deflate-pages",
  "zlib-pages",
  "gzip-members",
];

/** The runtime's own zlib and zstd, for all six methods; no native code of ours. */
export const builtin: Engine = {
  name: "builtin",
  encodes: FORMATS,
  decodes: FORMATS,
  packetEncoder(format, { level }) {
    if (format === "zlib-stream") return zlibStreamEncoder(level);
    if (format === "zstd-stream") return zstdStreamEncoder(level);
    if (format === "gzip-members") return gzipMembersEncoder(level);
    return unknown(format);
  },
  packetDecoder(format) {
    if (format === "zlib-stream") return zlibStreamDecoder();
    if (format === "zstd-stream") return zstdStreamDecoder();
    if (format === "gzip-members") return gzipMembersDecoder();
    return unknown(format);
  },
  pageEncoder(format, { pageSize }) {
    if (format === "deflate-pages") return deflatePagesEncoder(pageSize);
    if (format === "zlib-pages") return zlibPagesEncoder(pageSize);
    return unknown(format);
  },
  pageDecoder(format, { pageSize }) {
    if (format === "deflate-pages") return deflatePagesDecoder(pageSize);
    if (format === "zlib-pages") return zlibPagesDecoder(pageSize);
    return unknown(format);
  },
};
