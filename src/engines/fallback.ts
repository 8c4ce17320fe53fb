/** A device with software behind it: what the device refuses, software does. */
import { EngineError, EngineUnavailableError } from "../errors.ts";
import {
  type CodecOptions,
  type Engine,
  type EngineCounts,
  NO_COUNTS,
  sumCounts,
} from "./engine.ts";
import type { MaybePromise } from "../maybe_promise.ts";

/** As much of any codec as stepping in needs. */
interface Codec {
  counts?(): EngineCounts | undefined;
  close(): void;
}

/** How a device that could not be opened for a channel is counted among its failures. */
export const NOT_OPENED = "cannot open";

/** A codec of the device, and one of software from when it is first needed. */
class Pair<C extends Codec> {
  readonly #device: C | undefined;
  readonly #openSoftware: () => C;
  readonly #pageSize: number;
  #software: C | undefined;
  #softwarePages = 0;

  constructor(openDevice: () => C, openSoftware: () => C, pageSize: number) {
    this.#device = openOrNot(openDevice);
    this.#openSoftware = openSoftware;
    this.#pageSize = pageSize;
  }

  /** Has the device do it, or software where the device fails at it. */
  run<T>(pages: Uint8Array, use: (codec: C) => MaybePromise<T>): MaybePromise<T> {
    try {
      if (this.#device !== undefined) return use(this.#device);
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
    }
    this.#software ??= this.#openSoftware();
    this.#softwarePages += pages.length / this.#pageSize;
    return use(this.#software);
  }

  counts(): EngineCounts | undefined {
    const failures: Record<string, number> = this.#device === undefined ? { [NOT_OPENED]: 1 } : {};
    const ours = { ...NO_COUNTS, softwarePages: this.#softwarePages, failures };
    return sumCounts([this.#device?.counts?.(), ours]);
  }

  close(): void {
    this.#device?.close();
    this.#software?.close();
  }
}

/** A device may be lost between two channels' set-ups. */
function openOrNot<C>(open: () => C): C | undefined {
  try {
    return open();
  } catch (error) {
    if (error instanceof EngineUnavailableError) return undefined;
    throw error;
  }
}

/**
 * Puts software behind a device. Only for formats that keep nothing from packet to packet.
 *
 * @param device The device's engine.
 * @param software Does what the device fails at.
 * @returns An engine of the device's name; with `fallback: false` it is the device alone.
 */
export function withFallback(device: Engine, software: Engine): Engine {
  const pair = <C extends Codec>(
    options: CodecOptions,
    open: (engine: Engine) => C,
  ): Pair<C> => new Pair(() => open(device), () => open(software), options.pageSize);
  return {
    ...device,
    packetEncoder(format, options) {
      if (options.fallback === false) return device.packetEncoder(format, options);
      const both = pair(options, (engine) => engine.packetEncoder(format, options));
      return {
        encode: (pages, out) => both.run(pages, (codec) => codec.encode(pages, out)),
        counts: () => both.counts(),
        close: () => both.close(),
      };
    },
    packetDecoder(format, options) {
      if (options.fallback === false) return device.packetDecoder(format, options);
      const both = pair(options, (engine) => engine.packetDecoder(format, options));
      return {
        decode: (payload, out) => both.run(out, (codec) => codec.decode(payload, out)),
        counts: () => both.counts(),
        close: () => both.close(),
      };
    },
    pageEncoder(format, options) {
      if (options.fallback === false) return device.pageEncoder(format, options);
      const both = pair(options, (engine) => engine.pageEncoder(format, options));
      return {
        encode: (pages, out, lengths) =>
          both.run(pages, (codec) => codec.encode(pages, out, lengths)),
        counts: () => both.counts(),
        close: () => both.close(),
      };
    },
    pageDecoder(format, options) {
      if (options.fallback === false) return device.pageDecoder(format, options);
      const both = pair(options, (engine) => engine.pageDecoder(format, options));
      return {
        decode: (payload, lengths, out) =>
          both.run(out, (codec) => codec.decode(payload, lengths, out)),
        counts: () => both.counts(),
        close: () => both.close(),
      };
    },
  };
}
