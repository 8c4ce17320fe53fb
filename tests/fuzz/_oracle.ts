/**
 * What a migration's bytes mean, read in the plainest way by the rules of the wire format and by
 * none of the receiver's code: all at once, one connection after another. It is asked about what
 * the receiver took.
 */
import { decodeChannel } from "./_channels.ts";
import { pageKey, type Pages } from "./_image.ts";
import { Reader, require, textOf } from "./_reader.ts";
import type { Input } from "./_target.ts";

/** What the receiver's image must be. */
export interface Meaning {
  /** Pages that hold data, by key; the others are zero. */
  pages: Pages;
  /** Pages that two connections sent in one round, or whose data cannot be told here. */
  open: Set<string>;
}

/** A page as somebody sent it; undefined data is zero. */
interface Sent {
  round: number;
  by: string;
  data: Uint8Array | undefined;
}

/** The main channel, as far as it matters. */
interface Main {
  pageSize: number;
  blocks: Map<string, number>;
  /** How many SYNCs each channel owes; while it is read, the round. */
  markers: number;
}

const MAIN_MAGIC = 0x5145564d;
const MULTIFD_MAGIC = 0x11223344;
const GREETING_SIZE = 64;
const METHODS: Record<number, string> = {
  0x00: "none",
  0x02: "zlib",
  0x04: "zstd",
  0x08: "qpl",
  0x10: "uadk",
  0x20: "qatzip",
};

/** Gathers what everybody sends: a later round counts, and in a round the order of one sender. */
class Meant {
  readonly #sent = new Map<string, Sent>();
  readonly #open = new Set<string>();

  add(key: string, sent: Sent): void {
    const before = this.#sent.get(key);
    if (before !== undefined && before.round > sent.round) return;
    if (before === undefined || before.round < sent.round) this.#open.delete(key);
    else if (before.by !== sent.by) this.#open.add(key);
    this.#sent.set(key, sent);
  }

  /** Says that a page's data cannot be told. */
  leaveOpen(key: string): void {
    this.#open.add(key);
  }

  has(key: string): boolean {
    return this.#sent.has(key);
  }

  done(): Meaning {
    const pages: Pages = new Map();
    for (const [key, { data }] of this.#sent) if (data !== undefined) pages.set(key, data);
    return { pages, open: this.#open };
  }
}

/** Whether a connection is of a migration: a main channel, or one that greets. */
export function isKnown(bytes: Uint8Array): boolean {
  if (bytes.length < 4) return false;
  const input = new Reader(bytes);
  const magic = input.u32();
  if (magic === MAIN_MAGIC) return true;
  return magic === MULTIFD_MAGIC && bytes.length >= GREETING_SIZE && input.u32() === 1;
}

/**
 * Reads all connections.
 *
 * @returns What the image must be.
 * @throws {Error} If the migration breaks a rule.
 */
export function meaningOf({ parts, options }: Input): Meaning {
  const connections = Object.values(parts).filter(isKnown);
  const isMain = (bytes: Uint8Array): boolean => new Reader(bytes).u32() === MAIN_MAGIC;
  require(connections.filter(isMain).length === 1, "there is one main channel");
  const meant = new Meant();
  const main = readMain(new Reader(connections.find(isMain)!), meant);
  const channels = connections.filter((bytes) => !isMain(bytes)).map((bytes) =>
    new Channel(new Reader(bytes), main, options.isPlayback === true)
  );
  const ids = channels.map(({ id }) => id).sort((a, b) => a - b);
  require(ids.length > 0 && ids.every((id, i) => id === i), "ids are without gaps from 0");
  require(ids.length === (options.channels ?? ids.length), "as many channels come as were told");
  const methods = new Set(channels.flatMap(({ packets }) => packets.map(({ method }) => method)));
  require(methods.size <= 1, "one method is used");
  const [method] = methods;
  require(method === (options.method ?? method) || methods.size === 0, "it is the one told");
  checkNumbers(channels);
  for (const channel of channels) channel.tell(meant, main.pageSize);
  for (const [name, length] of main.blocks) {
    for (let at = 0; at < length && options.missingAsZero !== true; at += main.pageSize) {
      require(meant.has(pageKey(name, at)), `page ${at} of ${name} came`);
    }
  }
  return meant.done();
}

/** No gaps, but for sources that write a capacity into SYNCs and never count zero pages. */
function checkNumbers(channels: readonly Channel[]): void {
  const isOld = channels.some(({ hasCapacityInSync }) => hasCapacityInSync) &&
    !channels.some(({ hasZeroPages }) => hasZeroPages);
  const numbers = new Set(channels.flatMap(({ numbers }) => numbers));
  const isWhole = [...numbers].every((number) => number < numbers.size);
  require(isOld || isWhole, "packet_num has no gap");
}

function readMain(input: Reader, meant: Meant): Main {
  const main: Main = { pageSize: 4096, blocks: new Map(), markers: 0 };
  readHead(input, main);
  let isPerRound: boolean | undefined;
  let block: string | undefined;
  for (;;) {
    const type = input.u8();
    if (type === 8) {
      readCommand(input);
      continue;
    }
    require(type >= 1 && type <= 3, "a section of the RAM follows");
    const id = input.u32();
    if (type === 1) {
      const isRam = input.name() === "ram" && input.u32() === 0 && input.u32() === 4;
      require(isRam && main.blocks.size === 0, "RAM starts once");
    }
    let flushes = 0;
    for (;;) {
      const [address, flags] = input.record(main.pageSize);
      if (flags === 0x10) break;
      if (flags === 4) readBlocks(input, address, main.blocks);
      else if (flags === 0x200) {
        flushes++;
        main.markers++;
      } else {
        require([2, 8, 0x22, 0x28].includes(flags), "a record is known");
        if ((flags & 0x20) === 0) block = input.name();
        require(address + main.pageSize <= main.blocks.get(block!)!, "its page is in its block");
        const data = (flags & 8) === 0 ? undefined : input.take(main.pageSize);
        require(data !== undefined || input.u8() === 0, "a zero page is filled with zeros");
        meant.add(pageKey(block!, address), { round: main.markers, by: "main", data });
      }
    }
    isPerRound ??= flushes > 0;
    require(isPerRound || flushes === 0, "markers are of one kind");
    if (!isPerRound) main.markers++;
    require(input.u8() === 0x7e && input.u32() === id, "a footer ends a section");
    if (type !== 3) continue;
    require(!isPerRound || flushes > 0, "RAM ends with a marker");
    return main;
  }
}

function readHead(input: Reader, main: Main): void {
  require(input.u32() === MAIN_MAGIC && input.u32() === 3, "the stream has magic and version");
  require(input.u8() === 7, "a configuration follows");
  input.take(input.u32());
  while (input.peek() === 5) {
    input.u8();
    const name = input.name();
    require(input.u32() === 1, "a subsection has version 1");
    if (name === "configuration/target-page-bits") main.pageSize = 2 ** input.u32();
    else if (name === "configuration/uuid") input.take(16);
    // all that there are would make a stream that cannot be taken
    else require(name === "configuration/capabilities" && input.u32() === 0, "it is known");
  }
}

function readCommand(input: Reader): void {
  const [command, length] = [input.u16(), input.u16()];
  const isKnown = [1, 2, 11].includes(command) && length === (command === 2 ? 4 : 0);
  require(isKnown, "a command is known");
  input.take(length);
}

function readBlocks(input: Reader, total: number, blocks: Map<string, number>): void {
  require(blocks.size === 0, "the blocks are told once");
  for (let left = total; left > 0;) {
    const [name, length] = [input.name(), input.u64()];
    require(!blocks.has(name) && length <= left, "a block is new and fits");
    blocks.set(name, length);
    left -= length;
  }
}

interface PagesPacket {
  round: number;
  method: string;
  block: string;
  normal: number[];
  zeros: number[];
  payload: Uint8Array;
}

/** A multifd channel, read to its end. */
class Channel {
  readonly id: number;
  /** Those with pages. */
  readonly packets: PagesPacket[] = [];
  readonly numbers: number[] = [];
  hasCapacityInSync = false;
  hasZeroPages = false;

  constructor(input: Reader, main: Main, isPlayback: boolean) {
    require(input.u32() === MULTIFD_MAGIC && input.u32() === 1, "a greeting is first");
    input.take(16);
    this.id = input.u8();
    input.take(39);
    let syncs = 0;
    // of a live connection, what is behind the last SYNC need not be looked at
    while (!input.isOver && (isPlayback || syncs < main.markers)) {
      const isSync = this.#readPacket(input, main, syncs);
      require(isSync || syncs > 0, "a channel's first packet is a SYNC");
      if (isSync) syncs++;
    }
    require(syncs === main.markers, `a channel has ${main.markers} SYNCs`);
  }

  /** Reads a packet; whether it is a SYNC. */
  #readPacket(input: Reader, { pageSize, blocks, markers }: Main, round: number): boolean {
    const capacity = 524288 / pageSize;
    require(input.u32() === MULTIFD_MAGIC && input.u32() === 1, "a packet has magic and version");
    const flags = input.u32();
    require((flags & ~0x3f) === 0, "its flags are known");
    const [allocated, normal, size] = [input.u32(), input.u32(), input.u32()];
    this.numbers.push(input.u64());
    const zeros = input.u32();
    input.take(28);
    const name = input.take(256);
    const offsets = Array.from({ length: capacity }, () => input.u64()).slice(0, normal + zeros);
    require(normal + zeros <= allocated && allocated <= capacity, "its counts fit");
    const isSync = (flags & 1) !== 0;
    if (isSync && allocated > 0) this.hasCapacityInSync = true;
    if (zeros > 0) this.hasZeroPages = true;
    if (normal + zeros === 0) return isSync;
    require(round > 0 && round < markers, "pages come between set-up and the last SYNC");
    require(normal > 0 || size === 0, "zero pages have no payload");
    const method = METHODS[flags & 0x3e];
    require(method !== undefined, "its method is known");
    const block = textOf(name.subarray(0, name.indexOf(0)));
    const end = blocks.get(block) ?? -1;
    const areInside = offsets.every((at) => at % pageSize === 0 && at + pageSize <= end);
    require(areInside, "its pages are in its block");
    this.packets.push({
      round,
      method: method!,
      block,
      normal: offsets.slice(0, normal),
      zeros: offsets.slice(normal),
      payload: input.take(normal > 0 ? size : 0),
    });
    return isSync;
  }

  /** Tells every page, in order. */
  tell(meant: Meant, pageSize: number): void {
    const withData = this.packets.filter(({ normal }) => normal.length > 0);
    const sizes = withData.map(({ normal }) => normal.length * pageSize);
    const payloads = withData.map(({ payload }) => payload);
    const pages = sizes.length === 0
      ? new Uint8Array(0)
      : decodeChannel(withData[0]!.method, payloads, sizes, pageSize);
    const by = `channel ${this.id}`;
    let at = 0;
    for (const { round, block, normal, zeros } of this.packets) {
      for (const offset of normal) {
        const data = pages?.subarray(at, at += pageSize) ?? new Uint8Array(pageSize);
        meant.add(pageKey(block, offset), { round, by, data });
        if (pages === undefined) meant.leaveOpen(pageKey(block, offset));
      }
      for (const offset of zeros) {
        meant.add(pageKey(block, offset), { round, by, data: undefined });
      }
    }
  }
}
