/** Puts valid bytes together, and breaks one thing in them. */
import fs from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { assert, assertEquals, assertThrows } from "@std/assert";
import type { ErrorFacts, MultifdError } from "../../src/errors.ts";
import { RECORD, SECTION } from "../../src/protocol/main_channel.ts";
import type { MainChannelEvent } from "../../src/protocol/main_channel_event.ts";
import {
  MainChannelReader,
  type MainChannelReaderOptions,
} from "../../src/protocol/main_channel_reader.ts";
import type { RamBlock } from "../../src/protocol/ram_packet.ts";

export type Bytes = ArrayLike<number>;

export function concat(...parts: readonly Bytes[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

export function u16(value: number): Uint8Array {
  return new Uint8Array([value >> 8, value]);
}

export function u32(value: number): Uint8Array {
  return new Uint8Array([value >> 24, value >> 16, value >> 8, value]);
}

export function u64(value: number | bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

export function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

/** One length byte, then the text. */
export function name(value: string): Uint8Array {
  return concat([text(value).length], text(value));
}

/** A copy with other bytes at one place. */
export function patch(bytes: Uint8Array, at: number, part: Bytes): Uint8Array {
  const copy = bytes.slice();
  copy.set(part, at);
  return copy;
}

/** Pieces of the sizes that `nextSize` gives. */
export function* split(bytes: Uint8Array, nextSize: () => number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length;) {
    const end = at + nextSize();
    yield bytes.slice(at, end);
    at = end;
  }
}

/** A file of a recording of two real QEMUs. */
export function recording(path: string): Uint8Array {
  const url = new URL(`../testdata/recordings/${path}`, import.meta.url);
  return new Uint8Array(fs.readFileSync(url));
}

/** Asserts that exactly this class is thrown, with these words and at least these facts. */
export function assertRefused(
  fn: () => unknown,
  // deno-lint-ignore no-explicit-any
  ErrorClass: new (...args: any[]) => MultifdError,
  words: string,
  facts: ErrorFacts = {},
): void {
  const error = assertThrows(fn, ErrorClass, words);
  assertEquals(error.name, ErrorClass.name);
  assertEquals({ ...error.facts, ...facts }, error.facts);
}

/** Asserts that large things are equal; a failure does not print them. */
export function assertSame<T>(actual: T, expected: T): void {
  assert(isDeepStrictEqual(actual, expected), "not the same");
}

// the main channel

export const PAGE = 4096;
export const RAM_ID = 2;
export const BLOCKS: RamBlock[] = [
  { name: "pc.ram", usedLength: 16 * PAGE },
  { name: "vga.vram", usedLength: 2 * PAGE },
];

export function configuration(machine: string, ...subsections: Bytes[]): Uint8Array {
  const length = u32(text(machine).length);
  return concat(text("QEVM"), u32(3), [7], length, text(machine), ...subsections);
}

export function subsection(title: string, ...fields: Bytes[]): Uint8Array {
  return concat([5], name(title), u32(1), ...fields);
}

export function command(number: number, payload: Bytes = []): Uint8Array {
  return concat([8], u16(number), u16(payload.length), payload);
}

export function record(flags: number, address: number | bigint = 0): Uint8Array {
  return u64(BigInt(address) + BigInt(flags));
}

export const FLUSH = record(RECORD.MULTIFD_FLUSH);
export const EOS = record(RECORD.EOS);

export function memSize(blocks: readonly RamBlock[], total?: number | bigint): Uint8Array {
  return concat(
    record(RECORD.MEM_SIZE, total ?? blocks.reduce((sum, block) => sum + block.usedLength, 0)),
    ...blocks.map((block) => concat(name(block.name), u64(block.usedLength))),
  );
}

export function footer(id = RAM_ID): Uint8Array {
  return concat([SECTION.FOOTER], u32(id));
}

export function startHead(title = "ram", instance = 0, version = 4): Uint8Array {
  return concat([SECTION.START], u32(RAM_ID), name(title), u32(instance), u32(version));
}

export function start(...body: Bytes[]): Uint8Array {
  return concat(startHead(), ...body, footer());
}

export function part(...body: Bytes[]): Uint8Array {
  return concat([SECTION.PART], u32(RAM_ID), ...body, footer());
}

export function end(...body: Bytes[]): Uint8Array {
  return concat([SECTION.END], u32(RAM_ID), ...body, footer());
}

/** The pieces of a valid stream that marks its syncs per round. */
export const ROUND = {
  head: configuration("pc-q35-10.0") as Bytes,
  commands: concat(command(1), command(2, u32(7))) as Bytes,
  start: start(memSize(BLOCKS), FLUSH, EOS) as Bytes,
  part: part(FLUSH, EOS) as Bytes,
  end: end(FLUSH, EOS) as Bytes,
  tail: concat([0, 6], u32(2), text("{}")) as Bytes,
};

/** The same marked per section, as QEMU 7.2 does. */
export const PER_SECTION = {
  ...ROUND,
  start: start(memSize(BLOCKS), EOS) as Bytes,
  part: part(EOS) as Bytes,
  end: end(EOS) as Bytes,
};

/** A whole stream, with some of its pieces replaced. */
export function stream(pieces: Partial<typeof ROUND> = {}, mode = ROUND): Uint8Array {
  return concat(...Object.values({ ...mode, ...pieces }));
}

/** Every event of a stream that comes in pieces. */
export function readPieces(
  pieces: Iterable<Uint8Array>,
  options: MainChannelReaderOptions = {},
): MainChannelEvent[] {
  const reader = new MainChannelReader(options);
  const events: MainChannelEvent[] = [];
  for (const piece of pieces) events.push(...reader.push(piece));
  reader.end();
  return events;
}

/** Every event of a stream that comes at once. */
export function read(
  bytes: Uint8Array,
  options: MainChannelReaderOptions = {},
): MainChannelEvent[] {
  return readPieces([bytes], options);
}

/** The events of one type. */
export function only<T extends MainChannelEvent["type"]>(
  events: readonly MainChannelEvent[],
  type: T,
): Extract<MainChannelEvent, { type: T }>[] {
  return events.filter((event): event is Extract<MainChannelEvent, { type: T }> =>
    event.type === type
  );
}

// the VM tail

interface Described {
  name: string;
  instance?: number;
  body?: Bytes;
  /** What the description says of the body; by default one field of its size. */
  says?: Record<string, unknown>;
}

/** A FULL section. */
export function device(id: number, what: Described): Uint8Array {
  const body = what.body ?? [];
  const instance = u32(what.instance ?? 0);
  return concat([SECTION.FULL], u32(id), name(what.name), instance, u32(1), body, footer(id));
}

/** EOF and a description. */
export function description(json: string): Uint8Array {
  return concat([SECTION.EOF, SECTION.VMDESCRIPTION], u32(text(json).length), text(json));
}

/** A whole tail of these devices. */
export function tail(...devices: Described[]): Uint8Array {
  const described = devices.map((what) => ({
    name: what.name,
    instance_id: what.instance ?? 0,
    ...(what.says ?? { fields: [{ name: "body", size: (what.body ?? []).length }] }),
  }));
  return concat(
    ...devices.map((what, i) => device(10 + i, what)),
    description(JSON.stringify({ configuration: {}, devices: described })),
  );
}
