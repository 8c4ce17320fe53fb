/** `zstd-stream` on node:zlib. */
import { nodeZlib } from "../../builtin_modules.ts";
import { CodecError, type PacketDecoder, type PacketEncoder } from "../engine.ts";
import { type FramePart, ZstdFrames } from "../zstd_frames.ts";
import { asCodecError } from "./inflate.ts";

/** Level 20, QEMU's highest, has a window of 2^25; libzstd would take 2^27 from anyone. */
const largestWindow = (): Record<number, number> => ({
  [nodeZlib().constants.ZSTD_d_windowLogMax]: 25,
});

/** A frame per packet: nothing to carry over, and QEMU reads it as it reads its own. */
export function zstdStreamEncoder(level: number): PacketEncoder {
  const params = { [nodeZlib().constants.ZSTD_c_compressionLevel]: level };
  return {
    encode(pages, out) {
      const frame = nodeZlib().zstdCompressSync(pages, { params });
      out.set(frame);
      return frame.length;
    },
    close() {},
  };
}

/** Whole frames are decoded at once; a frame that goes on needs the asynchronous stream. */
export function zstdStreamDecoder(): PacketDecoder {
  const frames = new ZstdFrames();
  let open: OpenFrame | undefined;
  return {
    async decode(payload, out) {
      let filled = 0;
      for (const part of frames.split(payload)) {
        const room = out.subarray(filled);
        if (part.opens && part.closes) {
          filled += decodeFrame(payload.subarray(part.start, part.end), room);
          continue;
        }
        if (part.opens) open = new OpenFrame();
        filled += await open!.decode(payload, part, room);
        if (!part.closes) continue;
        open!.close();
        open = undefined;
      }
      if (filled < out.length) {
        throw new CodecError("too short", { expected: out.length, received: filled });
      }
    },
    close() {
      open?.close();
    },
  };
}

function decodeFrame(input: Uint8Array, out: Uint8Array): number {
  let content: Uint8Array;
  try {
    content = nodeZlib().zstdDecompressSync(input, {
      maxOutputLength: Math.max(1, out.length),
      params: largestWindow(),
    });
  } catch (error) {
    throw asCodecError(error, out.length);
  }
  if (content.length > out.length) {
    throw new CodecError("too long", { expected: out.length, received: content.length });
  }
  out.set(content);
  return content.length;
}

/** A frame that goes on from packet to packet. */
class OpenFrame {
  readonly #stream = nodeZlib().createZstdDecompress({ params: largestWindow() });
  #out: Uint8Array = new Uint8Array(0);
  #filled = 0;
  #settle: ((fault?: CodecError) => void) | undefined;

  constructor() {
    this.#stream.on("data", (chunk: Uint8Array) => {
      if (chunk.length > this.#out.length - this.#filled) {
        this.#settle?.(new CodecError("too long", { expected: this.#out.length }));
        this.#stream.destroy();
        return;
      }
      this.#out.set(chunk, this.#filled);
      this.#filled += chunk.length;
    });
    this.#stream.on("error", (error) => this.#settle?.(asCodecError(error, this.#out.length)));
    // Deno ends the stream with the frame and then never calls back
    this.#stream.on("end", () => this.#settle?.());
  }

  async decode(payload: Uint8Array, part: FramePart, out: Uint8Array): Promise<number> {
    this.#out = out;
    this.#filled = 0;
    let { start } = part;
    for (const stop of part.stops) {
      await this.#write(payload.subarray(start, stop));
      start = stop;
    }
    return this.#filled;
  }

  /** Takes one block: Deno does not catch what is wrong behind a write's first 16 KiB of output. */
  #write(input: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#settle = (fault) => {
        this.#settle = undefined;
        if (fault) reject(fault);
        else resolve();
      };
      this.#stream.write(input, (error) => {
        this.#settle?.(error ? asCodecError(error, this.#out.length) : undefined);
      });
    });
  }

  close(): void {
    this.#stream.destroy();
  }
}
