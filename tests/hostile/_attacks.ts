/** What a hostile source may do to a receiver, each with the one way it must end. */
import process from "node:process";
import zlib from "node:zlib";
import {
  type MultifdError,
  ProtocolError,
  type ReceiveOptions,
  TimedOutError,
  VerificationError,
} from "../../mod.ts";
import { QZ_HEADER_SIZE, writeQzHeader } from "../../src/engines/qz_member.ts";
import { ByteWriter } from "../../src/protocol/byte_writer.ts";
import { RECORD, SECTION } from "../../src/protocol/main_channel.ts";
import { MainChannelWriter } from "../../src/protocol/main_channel_writer.ts";
import { join, makeScript, packet, pagesPacket, type Script, sync } from "../migration/_script.ts";
import { HostilePeer, type Target } from "./_peer.ts";

// deno-lint-ignore no-explicit-any
type ErrorClass = new (...args: any[]) => MultifdError;

/** An attack, and its end. */
export interface Attack {
  /** What is done. */
  name: string;
  /** What the receiver is told. */
  options?: Pick<ReceiveOptions, "channels" | "maxChannels" | "maxRam" | "timeout">;
  /** Does it; what it opens is closed by the receiver. */
  run(target: Target): Promise<void>;
  /** The error. */
  ErrorClass: ErrorClass;
  /** What it says. */
  says: RegExp;
  /** The command's exit code. */
  code: number;
  /** Most memory it may cost, in MiB beyond what the receiver had when it began to listen. */
  memory?: number;
  /** Whether it moves so much that only `deno task hostile` has it. */
  isHeavy?: boolean;
}

const PAGE = 4096;
const MIB = 1024 * 1024;
const zeros = new Uint8Array(16 * MIB);
/** A timeout that is waited for, in milliseconds. */
const SHORT = 3000;
/** Between waves of a flood that goes on for so long, which else takes a processor all the time. */
const PAUSE = process.env.HOSTILE === "all" ? 0 : 100;
const oneOffset = Float64Array.of(0);

/** Opens the connections and writes what a source would, up to and with a part of the main channel. */
async function begin(
  target: Target,
  upTo: keyof Script["main"],
  script = makeScript(),
): Promise<{ main: HostilePeer; channels: HostilePeer[] }> {
  const main = await HostilePeer.connect(target);
  const channels: HostilePeer[] = [];
  for (const { greeting, setup } of script.channels) {
    const channel = await HostilePeer.connect(target);
    await channel.write(greeting, setup);
    channels.push(channel);
  }
  for (const [name, bytes] of Object.entries(script.main)) {
    await main.write(bytes);
    if (name === upTo) break;
  }
  return { main, channels };
}

/** A packet of one page whose payload is made of far more. */
function bomb(name: string, flags: number, payload: () => Uint8Array): Attack {
  return {
    name: `${name} that decompresses to 16 MiB where a page is announced`,
    async run(target) {
      const { channels } = await begin(target, "start");
      const fields = { flags, packetNum: 2, offsets: oneOffset };
      await channels[0]!.write(packet(fields, payload().slice()));
    },
    ErrorClass: VerificationError,
    says: new RegExp(`Cannot decode ${name}, .*(too long|corrupt).*channel 0, packet 1`),
    code: 4,
  };
}

/** One compressed page with its length before it, of at most a page's bytes. */
function pageBomb(deflated: Uint8Array): Uint8Array {
  return new ByteWriter().u32(deflated.length).raw(deflated).done();
}

/** As much as a page holds: a compressed page may not be longer. */
const zerosOfAPage = zeros.subarray(0, 2 * MIB);

function qzBomb(): Uint8Array {
  const deflated = zlib.deflateRawSync(zeros);
  const member = new Uint8Array(QZ_HEADER_SIZE + deflated.length + 8);
  writeQzHeader(member, PAGE, deflated.length);
  member.set(deflated, QZ_HEADER_SIZE);
  new DataView(member.buffer).setUint32(member.length - 4, PAGE, true);
  return member;
}

/** A zstd frame that asks for a window of 64 MiB. */
function zstdWindow(): Uint8Array {
  return Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x00, 16 << 3, 0x0b, 0x80, 0x00, 0x00);
}

/** RAM's START section with a list of blocks that is not ours to write. */
function ramStart(total: bigint): ByteWriter {
  const size = total + BigInt(RECORD.MEM_SIZE);
  return new ByteWriter().u8(SECTION.START).u32(2).name("ram").u32(0).u32(4)
    .u32(Number(size >> 32n)).u32(Number(size & 0xffffffffn));
}

/** Blocks one after the other, until it is cut off. */
async function sendBlocks(main: HostilePeer, usedLength: number): Promise<void> {
  for (let i = 0; !main.isCutOff;) {
    const bytes = new ByteWriter();
    const end = i + 1000;
    for (; i < end; i++) bytes.name(`block ${i}`).u64(usedLength);
    await main.write(bytes.done());
  }
}

/** An attack on the main channel by what it says after its head; the channels only greet. */
function onMain(
  name: string,
  says: RegExp,
  attack: (main: HostilePeer) => Promise<void>,
  more: Partial<Attack> = {},
): Attack {
  return {
    name,
    async run(target) {
      await attack((await begin(target, "head")).main);
    },
    ErrorClass: ProtocolError,
    says,
    code: 3,
    ...more,
  };
}

/** An attack that ends with the timeout: `says` is what was waited for. */
function tooSlow(
  name: string,
  says: RegExp,
  run: Attack["run"],
  more: Partial<Attack> = {},
): Attack {
  const options = { timeout: SHORT };
  return { name, run, ErrorClass: TimedOutError, says, code: 1, options, ...more };
}

const writer = new MainChannelWriter("round");
const part = join(writer.ramPart(), writer.ramPartEnd());
/** A section of the RAM without a page or a marker. */
const emptyPart = join(writer.ramPart(), part.subarray(-13));
const footerOfNoOne = emptyPart.slice();
footerOfNoOne[footerOfNoOne.length - 1] = 77;
/** A page on the main channel. */
const mainPage = (offset: number): Uint8Array =>
  new ByteWriter().u64(offset + RECORD.PAGE).name("pc.ram").raw(new Uint8Array(PAGE).fill(1))
    .done();

/** Everything up to RAM's END, so that the device state comes next. */
async function toTail(target: Target): Promise<HostilePeer> {
  const script = makeScript();
  const { main, channels } = await begin(target, "end", script);
  for (const [i, { data, partSync, endSync }] of script.channels.entries()) {
    await channels[i]!.write(data, partSync, endSync);
  }
  return main;
}

/** What looks like the end of the device state: `00 06 <size> '{'`. */
const description = (size: number): Uint8Array =>
  new ByteWriter().u8(SECTION.EOF).u8(SECTION.VMDESCRIPTION).u32(size).done();

/** All of them. */
export const ATTACKS: readonly Attack[] = [
  bomb("zlib", 0x02, () => zlib.deflateSync(zeros)),
  bomb("zstd", 0x04, () => zlib.zstdCompressSync(zeros)),
  bomb("qpl", 0x08, () => pageBomb(zlib.deflateRawSync(zerosOfAPage, { windowBits: 12 }))),
  bomb("uadk", 0x10, () => pageBomb(zlib.deflateSync(zerosOfAPage, { windowBits: 12 }))),
  bomb("qatzip", 0x20, qzBomb),
  { ...bomb("zstd", 0x04, zstdWindow), name: "a zstd frame with a window of 64 MiB" },
  {
    name: "a payload of 4 GiB",
    async run(target) {
      const { channels } = await begin(target, "start");
      const fields = { flags: 0x02, packetNum: 2, offsets: oneOffset, nextPacketSize: 0xffffffff };
      await channels[0]!.write(packet(fields));
    },
    ErrorClass: ProtocolError,
    says: /impossible size: expected 1 to 1048576 bytes, received 4294967295.*channel 0, packet 1/,
    code: 3,
  },
  onMain(
    "a RAM of 2^63 bytes",
    /RAM is too large \(--max-ram\)/,
    (main) => main.write(ramStart(1n << 63n).done()),
  ),
  onMain(
    "a block of 2^63 bytes",
    /"big" is longer than the total leaves: expected at most 8192 bytes/,
    (main) => main.write(ramStart(8192n).name("big").u64(2 ** 63).done()),
  ),
  onMain(
    "more RAM than --max-ram",
    /RAM is too large \(--max-ram\): expected at most 8192 bytes, received 16384/,
    (main) => main.write(makeScript().main.start),
    { options: { maxRam: 2 * PAGE } },
  ),
  onMain("a million blocks", /Too many RAM blocks: expected at most/, async (main) => {
    await main.write(ramStart(1_000_000n * 4096n).done());
    await sendBlocks(main, PAGE);
  }),
  onMain("a list of blocks that never adds up", /Too many RAM blocks/, async (main) => {
    await main.write(ramStart(4096n).done());
    await sendBlocks(main, 0);
  }),
  onMain(
    "junk for a section's footer",
    /Footer is of another section: expected 2, received 77/,
    async (main) => {
      await main.write(makeScript().main.start);
      await main.flood(footerOfNoOne);
    },
  ),
  {
    name: "more channels than --channels",
    options: { channels: 2 },
    async run(target) {
      const script = makeScript();
      script.channels.push({
        ...script.channels[0]!,
        greeting: script.channels[0]!.greeting.slice(),
      });
      script.channels[2]!.greeting[24] = 2;
      await begin(target, "head", script);
    },
    ErrorClass: ProtocolError,
    says: /too high an id \(see --channels\): expected an id below 2, received 2 \(channel 2\)/,
    code: 3,
  },
  {
    name: "more channels than a receiver takes that was not told",
    async run(target) {
      const script = makeScript();
      const [first] = script.channels;
      script.channels = Array.from({ length: 255 }, (_, id) => {
        const greeting = first!.greeting.slice();
        greeting[24] = id;
        return { ...first!, greeting };
      });
      await begin(target, "head", script).catch(() => {});
    },
    ErrorClass: ProtocolError,
    says: /too high an id \(see --max-channels\): expected an id below 64, received 64/,
    code: 3,
    memory: 1200,
    isHeavy: true,
  },
  {
    name: "more channels than --max-channels",
    options: { maxChannels: 1 },
    run: async (target) => void await begin(target, "head"),
    ErrorClass: ProtocolError,
    says: /too high an id \(see --max-channels\): expected an id below 1, received 1 \(channel 1\)/,
    code: 3,
  },
  {
    name: "packets without pages, for ever",
    async run(target) {
      const { channels } = await begin(target, "start");
      await channels[0]!.flood(packet({ packetNum: 2 }));
    },
    ErrorClass: ProtocolError,
    says: /one packet after another without pages: expected at most 1024 in a row \(channel 0/,
    code: 3,
  },
  {
    name: "rounds without pages, for ever",
    async run(target) {
      const { main, channels } = await begin(target, "start");
      const floods = channels.map((channel) => channel.flood(sync(2)));
      await Promise.all([main.flood(part), ...floods]);
    },
    ErrorClass: ProtocolError,
    says: /one round after another without a page: expected at most 1024 in a row \(main channel\)/,
    code: 3,
  },
  onMain(
    "PINGs for ever",
    /too many PINGs: expected at most 1024 \(main channel\)/,
    (main) => main.flood(writer.ping(7)),
  ),
  onMain(
    "a return path that is opened again",
    /Return path is opened twice \(main channel\)/,
    (main) => main.flood(writer.openReturnPath()),
  ),
  tooSlow(
    "SYNC upon SYNC, and no marker",
    /a section of the RAM on the main channel/,
    async (target) => {
      const { channels } = await begin(target, "start");
      await Promise.all(channels.map((channel) => channel.flood(sync(2), Infinity, PAUSE)));
    },
  ),
  tooSlow("sections of the RAM without pages, for ever", /a RAM record|section/, async (target) => {
    const { main } = await begin(target, "start");
    await main.flood(emptyPart, Infinity, PAUSE);
  }),
  tooSlow("a head of a byte now and then", /on the main channel/, async (target) => {
    const main = await HostilePeer.connect(target);
    const { head } = makeScript().main;
    await main.write(head.subarray(0, 4));
    await main.dribble(head.subarray(4), 250);
  }),
  tooSlow("a packet's header of a byte now and then", /channels 0/, async (target) => {
    const { channels } = await begin(target, "start");
    await channels[0]!.dribble(packet({ packetNum: 2 }), 50);
  }),
  tooSlow("a payload of a byte now and then", /channels 0/, async (target) => {
    const { channels } = await begin(target, "start");
    const bytes = pagesPacket(2, [0]);
    await channels[0]!.write(bytes.subarray(0, -PAGE));
    await channels[0]!.dribble(bytes.subarray(-PAGE), 50);
  }),
  tooSlow("device state of a byte now and then", /the VM description/, async (target) => {
    await (await toTail(target)).dribble(zeros, 50);
  }),
  tooSlow(
    "device state that is announced and never comes",
    /the VM description/,
    async (target) => {
      await (await toTail(target)).write(description(0xffffffff), Uint8Array.of(0x7b));
    },
  ),
  tooSlow("a page on the main channel, byte by byte", /a page on the main/, async (target) => {
    const { main } = await begin(target, "start");
    const page = mainPage(0);
    await main.write(writer.ramPart(), page.subarray(0, -PAGE));
    await main.dribble(page.subarray(-PAGE), 1);
  }),
  {
    name: "device state that never ends",
    run: async (target) => (await toTail(target)).flood(zeros.subarray(0, MIB)),
    ErrorClass: ProtocolError,
    says: /Device state is too large: expected at most 268435456 bytes/,
    code: 3,
    memory: 900,
    isHeavy: true,
  },
  {
    name: "device state whose description is 4 GiB long",
    async run(target) {
      const main = await toTail(target);
      await main.write(description(0xffffffff), Uint8Array.of(0x7b));
      await main.flood(zeros.subarray(0, MIB));
    },
    ErrorClass: ProtocolError,
    says: /Device state is too large: expected at most 268435456 bytes/,
    code: 3,
    memory: 900,
    isHeavy: true,
  },
  {
    name: "a description of 16 MiB that is nothing but empty devices",
    async run(target) {
      const main = await toTail(target);
      const text = new Uint8Array(16 * MIB).fill(0x20);
      text.set(new TextEncoder().encode(`{"devices":[{}`));
      for (let at = 14; at + 3 < text.length - 4; at += 3) text.set([0x2c, 0x7b, 0x7d], at);
      text.set([0x20, 0x5d, 0x7d], text.length - 3);
      await main.write(description(text.length), text);
    },
    ErrorClass: VerificationError,
    says: /Device state does not match its description: no section where "undefined" should be/,
    code: 4,
    memory: 900,
    isHeavy: true,
  },
  {
    name: "places that look like the end, for ever",
    async run(target) {
      const main = await toTail(target);
      const unit = new ByteWriter().u8(SECTION.FOOTER).u32(2).raw(description(1)).u8(0x7b).done();
      await main.flood(unit);
    },
    ErrorClass: ProtocolError,
    says: /too many places that look like its end: expected at most 64/,
    code: 3,
  },
];
