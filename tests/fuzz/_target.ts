/** What the fuzzer feeds, to whom, and how an input lies in a file. */
import fs from "node:fs";
import zlib from "node:zlib";
import { exitCodeOf } from "../../src/cli/exit_code.ts";
import { MultifdError } from "../../src/errors.ts";
import { joined } from "../methods/_pages.ts";
import type { Random } from "../_random.ts";

/** What a target must know besides the bytes. */
export type Options = Record<string, number | string | boolean>;

/** An input: bytes by name, e.g. a connection's; whatever a run needs is in here. */
export interface Input {
  parts: Record<string, Uint8Array>;
  options: Options;
}

/** Something that reads what others made. */
export interface Target {
  /** Its name, as `--only` takes it. */
  readonly name: string;
  /** Its share of the time, against 1 of most. */
  readonly weight?: number;
  /** Whether an input may be refused with this error. Default {@linkcode isRefusal}. */
  readonly refuses?: (error: unknown) => boolean;
  /** Makes an input; the same for the same random numbers. */
  generate(random: Random): Input | Promise<Input>;
  /** Reads an input and throws a refusal, or any other error if something is wrong. */
  run(input: Input): void | Promise<void>;
}

/** Whether an error says that the peer is to blame: exit code 3 or 4, and never another error. */
export function isRefusal(error: unknown): boolean {
  return error instanceof MultifdError && [3, 4].includes(exitCodeOf(error));
}

/** An input of one part. */
export function only(bytes: Uint8Array, options: Options = {}): Input {
  return { parts: { bytes }, options };
}

/** The one part of an input. */
export function bytesOf(input: Input): Uint8Array {
  return input.parts.bytes!;
}

/** A copy of an input, for a run that may change its bytes. */
export function copyOf({ parts, options }: Input): Input {
  const copies = Object.entries(parts).map(([name, bytes]) => [name, bytes.slice()]);
  return { parts: Object.fromEntries(copies), options };
}

/** Writes an input to a file: a line of JSON and the bytes, gzipped. */
export function saveInput(file: string, target: string, { parts, options }: Input): void {
  const sizes = Object.entries(parts).map(([name, { length }]) => [name, length]);
  const head = new TextEncoder().encode(`${JSON.stringify({ target, options, parts: sizes })}\n`);
  fs.writeFileSync(file, zlib.gzipSync(joined([head, ...Object.values(parts)])));
}

/** Reads such a file. */
export function loadInput(file: string): { target: string; input: Input } {
  const bytes = new Uint8Array(zlib.gunzipSync(fs.readFileSync(file)));
  const end = bytes.indexOf(0x0a);
  const { target, options, parts: sizes } = JSON.parse(
    new TextDecoder().decode(bytes.subarray(0, end)),
  ) as { target: string; options: Options; parts: [name: string, size: number][] };
  let at = end + 1;
  const parts = sizes.map(([name, size]) => [name, bytes.slice(at, at += size)]);
  return { target, input: { parts: Object.fromEntries(parts), options } };
}
