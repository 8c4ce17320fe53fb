/** node:zlib's one-shot inflate, with every size checked. */
import { nodeZlib } from "../../builtin_modules.ts";
import { CodecError } from "../engine.ts";

interface InflateOptions {
  /** Ordinal of the page, for the error. */
  page?: number;
}

type Inflate = ReturnType<typeof nodeZlib>["inflateRawSync"];
/** What the runtime returns with `info: true`, which its types do not say. */
type Info = { buffer: Uint8Array; engine: { bytesWritten: number } };

/** Inflates a raw deflate stream to exactly `out.length` bytes, using all input. */
export function inflateRaw(input: Uint8Array, out: Uint8Array, options: InflateOptions = {}): void {
  inflate(nodeZlib().inflateRawSync, input, out, options);
}

/** Inflates a zlib stream, Adler-32 checked, to exactly `out.length` bytes. */
export function inflateZlib(
  input: Uint8Array,
  out: Uint8Array,
  options: InflateOptions = {},
): void {
  inflate(nodeZlib().inflateSync, input, out, options);
}

function inflate(call: Inflate, input: Uint8Array, out: Uint8Array, options: InflateOptions): void {
  const { page } = options;
  let info: Info;
  try {
    info = call(input, {
      info: true,
      chunkSize: Math.max(64, out.length),
      maxOutputLength: Math.max(1, out.length),
    }) as unknown as Info;
  } catch (error) {
    throw asCodecError(error, out.length, page);
  }
  if (info.buffer.length !== out.length) {
    throw new CodecError(info.buffer.length < out.length ? "too short" : "too long", {
      page,
      expected: out.length,
      received: info.buffer.length,
    });
  }
  const used = info.engine.bytesWritten;
  if (used !== input.length) {
    throw new CodecError("left-over input", { page, expected: used, received: input.length });
  }
  out.set(info.buffer);
}

/** Tells the runtime's errors apart: too much output, input that stops early, bad data. */
export function asCodecError(error: unknown, expected: number, page?: number): CodecError {
  const { code, message } = error as { code?: string; message: string };
  if (code === "ERR_BUFFER_TOO_LARGE") return new CodecError("too long", { page, expected });
  if (code === "Z_BUF_ERROR") return new CodecError("too short", { page, expected });
  return new CodecError("bad data", { page, code: code ? `${code}: ${message}` : message });
}
