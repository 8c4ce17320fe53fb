/** What measuring a method on an engine gives, and what follows from it without measuring. */
import type { Spread } from "./statistics.ts";

/** How fast one direction of a codec is. */
export interface Speed {
  /** MB of pages with data per second and core, over several batches. */
  rate: Spread;
  /** Seconds of one core per byte of pages with data, from the median. */
  secondsPerByte: number;
}

/** A method at a level on an engine, measured on sampled pages. */
export interface CodecMeasure {
  /** The compression method. */
  method: string;
  /** Its level; undefined where the method has none. */
  level: number | undefined;
  /** The engine's name; `none` for method none. */
  engine: string;
  /** What computes: `device`, `library`, `runtime`, or `copy` for method none. */
  kind: "device" | "library" | "runtime" | "copy";
  /** Whether `dense` was set: more compression, more slowly. */
  dense: boolean;
  /** Bytes of payload by bytes of pages with data. */
  left: number;
  /** Compressing; undefined where the engine cannot. */
  encode: Speed | undefined;
  /** Decompressing; undefined where the engine cannot. */
  decode: Speed | undefined;
}

/** What the sampled pages are, as shares of all pages. */
export interface Shares {
  /** All zero. */
  zero: number;
  /** With data that deflate, page by page, does not shrink. */
  incompressible: number;
  /** With data that another page of the sample has, too: at least so many. */
  duplicate: number;
}

/** What is measured of a source. */
export interface Profile {
  /** Bytes of the source. */
  bytes: number;
  /** Page size in bytes. */
  pageSize: number;
  /** Pages that were looked at. */
  sampledPages: number;
  /** What they are. */
  shares: Shares;
  /** The methods on the engines here. */
  codecs: CodecMeasure[];
}
