/** What is wrong with a recording is told where it is, and what lies behind it is read. */
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  type Damage,
  MemoryImage,
  type MultifdError,
  packetsOf,
  PeerClosedError,
  ProtocolError,
  type RecordedItem,
  type RecordedPacket,
  send,
  surveyRecording,
  VerificationError,
} from "../../mod.ts";
import { FLAG_SYNC } from "../../src/core.ts";
import { startReceiver, temporaryDirectory } from "../migration/_migrate.ts";
import { allOf, change, HEADER, OFFSETS_AT, packetsAmong, shape, withCopy } from "./_recordings.ts";

interface Case {
  what: string;
  recording: string;
  file: string;
  /** The packet that is damaged: the first on its channel of which this is true. */
  packet: (packet: RecordedPacket) => boolean;
  change(bytes: Uint8Array, packet: RecordedPacket): Uint8Array | void;
  ErrorClass: new (summary: string) => MultifdError;
  message: RegExp;
  /** What of the channel's packets is given; the damaged one is `it`. */
  gives: (all: number[], it: number) => number[];
  /** Whether the packets behind it cannot be decompressed. */
  breaksStream?: true;
}

const all = (all: number[]): number[] => all;
const allButIt = (all: number[], it: number): number[] => all.filter((n) => n !== it);
const upToIt = (all: number[], it: number): number[] => all.filter((n) => n <= it);
const beforeIt = (all: number[], it: number): number[] => all.filter((n) => n < it);

const isLast = ({ flags, round }: RecordedPacket): boolean => flags === FLAG_SYNC && round === 3;
const isFirst = ({ packet }: RecordedPacket): boolean => packet === 0;
const isFull = ({ round, normalPages, block }: RecordedPacket): boolean =>
  round === 2 && normalPages > 1 && block === "pc.ram";

const isZeroOnly = ({ normalPages, zeroPages }: RecordedPacket): boolean =>
  normalPages === 0 && zeroPages > 0;
const isCompressed = (packet: RecordedPacket): boolean =>
  isFull(packet) && packet.lengths![0]! < 4096;

const CASES: Case[] = [
  {
    what: "an offset",
    recording: "qpl",
    file: "ch0.bin",
    packet: isFull,
    change: (bytes, { offset }) => void (bytes[offset + OFFSETS_AT + 7]! ^= 1),
    ErrorClass: ProtocolError,
    message: /page 0 is not page-aligned \(channel 0, packet \d+, block "pc.ram", offset 0x/,
    gives: allButIt,
  },
  {
    what: "a magic",
    recording: "zstd",
    file: "ch1.bin",
    packet: isFirst,
    change: (bytes, { offset }) => void (bytes[offset] = 0),
    ErrorClass: ProtocolError,
    message: /wrong magic: .* \(channel 1, packet 0, offset 0x40\)/,
    gives: allButIt,
  },
  {
    what: "a block's name",
    recording: "zlib-3-channels",
    file: "ch2.bin",
    packet: isFull,
    change: (bytes, { offset }) => void (bytes[offset + 64] = 0x71),
    ErrorClass: ProtocolError,
    message: /unknown RAM block: received "qc\.ram" \(channel 2/,
    gives: allButIt,
    breaksStream: true,
  },
  {
    what: "a payload's size",
    recording: "none",
    file: "ch0.bin",
    packet: isFull,
    change: (bytes, { offset }) => void (bytes[offset + 23]! ^= 1),
    ErrorClass: ProtocolError,
    message: /Payload has a wrong size: expected \d+, received \d+ \(channel 0/,
    gives: upToIt,
  },
  {
    what: "a method",
    recording: "zstd",
    file: "ch0.bin",
    packet: isFull,
    change: (bytes, { offset }) => void (bytes[offset + 11] = 0x20),
    ErrorClass: VerificationError,
    message: /Cannot decode qatzip, .* \(channel 0, packet 1, block "pc.ram"/,
    gives: all,
    breaksStream: true,
  },
  {
    what: "a length of a page",
    recording: "qpl",
    file: "ch1.bin",
    packet: isCompressed,
    change: (bytes, { offset }) => void (bytes[offset + HEADER + 3]! ^= 1),
    ErrorClass: ProtocolError,
    message: /Lengths of the pages do not add up to the payload: .* \(channel 1/,
    gives: all,
  },
  {
    what: "a page of a payload",
    recording: "qpl",
    file: "ch1.bin",
    packet: isCompressed,
    change: (bytes, { offset, normalPages }) => {
      bytes.fill(0xff, offset + HEADER + 4 * normalPages, offset + HEADER + 4 * normalPages + 8);
    },
    ErrorClass: VerificationError,
    message: /page 0 of the payload is .* \(channel 1, packet \d+, block "pc.ram", offset 0x/,
    gives: all,
  },
  {
    what: "a stream of payloads",
    recording: "zlib-3-channels",
    file: "ch1.bin",
    packet: isFull,
    change: (bytes, { offset, payloadBytes }) => {
      bytes.fill(0xff, offset + HEADER, offset + HEADER + payloadBytes);
    },
    ErrorClass: VerificationError,
    message: /Cannot decode zlib, payload is corrupt .*\(channel 1, packet \d+, block "pc.ram"/,
    gives: all,
    breaksStream: true,
  },
  {
    what: "a method of zero pages",
    recording: "qpl",
    file: "ch1.bin",
    packet: isZeroOnly,
    change: (bytes, { offset }) => void (bytes[offset + 11] = 0x04),
    ErrorClass: ProtocolError,
    message: /another compression method than was agreed: expected qpl, received zstd/,
    gives: all,
  },
  {
    what: "pages behind the last SYNC",
    recording: "qpl",
    file: "ch1.bin",
    packet: isZeroOnly,
    change: (bytes, { offset }) =>
      Uint8Array.from([...bytes, ...bytes.subarray(offset, offset + HEADER)]),
    ErrorClass: ProtocolError,
    message: /Packet comes after the last SYNC: received \d+ \(channel 1, packet \d+, block/,
    gives: (all) => [...all, all.length],
  },
  {
    what: "a header that is cut",
    recording: "qemu-7.2-zlib",
    file: "ch0.bin",
    packet: isFull,
    change: (bytes, { offset }) => bytes.subarray(0, offset + 100),
    ErrorClass: PeerClosedError,
    message: /ends inside a packet's header, 1244 bytes are missing/,
    gives: beforeIt,
  },
  {
    what: "the end, missing from a packet's start on",
    recording: "qatzip",
    file: "ch0.bin",
    packet: isLast,
    change: (bytes) => bytes.subarray(0, -HEADER),
    ErrorClass: PeerClosedError,
    message: /ends before the end of RAM: expected 3 SYNCs, .* received 2 \(channel 0\)/,
    gives: allButIt,
  },
  {
    what: "one SYNC too many",
    recording: "qatzip",
    file: "ch0.bin",
    packet: isLast,
    change: (bytes) => Uint8Array.from([...bytes, ...bytes.subarray(-HEADER)]),
    ErrorClass: ProtocolError,
    message: /too many SYNCs: expected 3 SYNCs, .* received 4 \(channel 0\)/,
    gives: (all) => [...all, all.length],
  },
  {
    what: "a greeting",
    recording: "zstd",
    file: "ch1.bin",
    packet: isFirst,
    gives: all,
    change: (bytes) => void (bytes[0] = 0),
    ErrorClass: ProtocolError,
    message: /Greeting has a wrong magic: .* \(channel 1, offset 0x0\)/,
  },
  {
    what: "a uuid",
    recording: "zstd",
    file: "ch1.bin",
    packet: isFirst,
    gives: all,
    change: (bytes) => void (bytes[9]! ^= 1),
    ErrorClass: ProtocolError,
    message: /Channels are of different guests: uuid: expected .* \(channel 1\)/,
  },
];

for (const { what, recording, file, message, ErrorClass, ...more } of CASES) {
  test(`packetsOf() reads on behind damage: ${what}`, () =>
    withCopy(recording, async (directory) => {
      const channel = Number(file.slice(2, -4));
      const isOther = (item: RecordedItem): boolean => item.channel !== channel;
      const whole = packetsAmong(await allOf(packetsOf(directory)));
      const packets = whole.filter((packet) => !isOther(packet));
      const it = packets.find(more.packet)!;
      change(path.join(directory, file), (bytes) => more.change(bytes, it));

      const items: RecordedItem[] = [];
      const broken: number[] = [];
      for await (const item of packetsOf(directory)) {
        items.push(item);
        if (item.type !== "packet" || item.normalPages === 0 || item.data !== undefined) continue;
        broken.push(item.packet);
      }
      const [first, ...others] = items.filter((item): item is Damage => item.type === "damage");
      assertEquals(others, []);
      assert(first!.error instanceof ErrorClass, String(first!.error));
      assertMatch(first!.error.message, message);
      const given = packetsAmong(items).filter((packet) => !isOther(packet));
      const ordinals = packets.map(({ packet }) => packet);
      const expected = more.gives(ordinals, it.packet);
      assertEquals(given.map(({ packet }) => packet), expected);
      assertEquals(items.filter(isOther).map(shape), whole.filter(isOther).map(shape));
      const isBroken = ({ packet, normalPages }: RecordedPacket): boolean =>
        normalPages > 0 && expected.includes(packet) && first!.offset === it.offset &&
        (packet === it.packet || (packet > it.packet && more.breaksStream === true));
      const asBefore = given.filter(({ packet }) =>
        packet !== it.packet && packet < packets.length && !broken.includes(packet)
      );
      assertEquals(asBefore.map(shape), asBefore.map(({ packet }) => shape(packets[packet]!)));
      assertEquals(broken, packets.filter(isBroken).map(({ packet }) => packet));
    }));
}

test("surveyRecording() counts no round whole whose SYNC carries a damaged payload (QEMU 7.2)", () =>
  withCopy("qemu-7.2-zlib", async (directory) => {
    const packets = packetsAmong(await allOf(packetsOf(directory, { channel: 0 })));
    const it = packets.find(({ flags, normalPages }) => flags & FLAG_SYNC && normalPages > 0)!;
    const begin = it.offset + HEADER;
    change(path.join(directory, "ch0.bin"), (bytes) => {
      bytes.fill(0xff, begin, begin + it.payloadBytes);
    });
    const { channels, wholeRounds, damageCount } = await surveyRecording(directory);
    assertEquals(channels.map(({ syncs }) => syncs), [3, 3]);
    assertEquals([channels[0]!.wholeRounds, wholeRounds], [it.round - 1, it.round - 1]);
    assertEquals(damageCount, 1);
  }));

test("surveyRecording() tells which pages are missing", () =>
  withCopy("none", async (directory) => {
    const packets = packetsAmong(await allOf(packetsOf(directory, { channel: 1 })));
    const it = packets.find(isFull)!;
    change(path.join(directory, "ch1.bin"), (bytes) => void (bytes[it.offset] = 0));
    const { blocks } = await surveyRecording(directory);
    const missing = [...it.pages].sort((a, b) => a - b);
    const { pages, arrived, missing: stretches } = blocks.find(({ name }) => name === it.block)!;
    assertEquals(pages - arrived, missing.length);
    const listed = stretches.flatMap(({ offset, length }) =>
      Array.from({ length: length / 4096 }, (_, i) => offset + 4096 * i)
    );
    assertEquals(listed, missing);
  }));

test("packetsOf() decompresses what does not build on a damaged payload", async () => {
  const parent = temporaryDirectory();
  const record = path.join(parent, "recording");
  const { address, received } = await startReceiver({ record });
  // this engine ends its frame with each packet
  const image = new MemoryImage({ "pc.ram": textPages(4) });
  await send({ image, to: address, method: "zstd", engine: "builtin", channels: 1 });
  await received;
  const packets = packetsAmong(await allOf(packetsOf(record)));
  const data = packets.filter(({ normalPages }) => normalPages > 0);
  assertEquals(data.length, 4);
  change(path.join(record, "ch0.bin"), (bytes) => {
    for (const { offset } of [data[0]!, data[2]!]) {
      bytes.fill(0xff, offset + HEADER, offset + HEADER + 9);
    }
  });
  const items = await allOf(packetsOf(record));
  const given = packetsAmong(items).filter(({ normalPages }) => normalPages > 0);
  assertEquals(given.map(({ data }) => data !== undefined), [false, true, false, true]);
  assertEquals(items.filter(({ type }) => type === "damage").length, 2);
  fs.rmSync(parent, { recursive: true });
});

/** Memory that fills so many packets, without a zero page. */
function textPages(packets: number): SharedArrayBuffer {
  const ram = new SharedArrayBuffer(packets * 512 * 1024);
  new Uint8Array(ram).forEach((_, i, bytes) => bytes[i] = 32 + (i >> 5) % 64);
  return ram;
}

/** What is wrong with a recording. */
async function damagesOf(directory: string): Promise<string[]> {
  const { damages } = await surveyRecording(directory);
  return damages.map(({ error }) => error.message);
}

test("packetsOf() reads every channel when the main channel is cut", () =>
  withCopy("zlib-3-channels", async (directory) => {
    const whole = await allOf(packetsOf(directory));
    const markers = await allOf(packetsOf(directory, { channel: "main" }));
    const [, second] = markers.filter((item) => item.type === "record" && item.kind === "sync");
    assert(second?.type === "record");
    // behind the second marker; inside the machine's name, before any block is known
    for (const [length, rounds, blocks] of [[second.offset + 8, 2, 6], [17, 0, 0]] as const) {
      fs.truncateSync(path.join(directory, "main.bin"), length);
      const [first, ...packets] = await allOf(packetsOf(directory));
      assert(first?.type === "damage" && first.channel === "main");
      assertMatch(first.error.message, /^Peer closed the main channel before .* offset 0x/);
      assertEquals(packets.map(shape), whole.map(shape));
      const survey = await surveyRecording(directory);
      assertEquals([survey.wholeRounds, survey.blocks.length], [rounds, blocks]);
    }
  }));

test("packetsOf() finds greetings that do not go together", () =>
  withCopy("qpl", async (directory) => {
    const ch1 = path.join(directory, "ch1.bin");
    change(ch1, (bytes) => void (bytes[24] = 5));
    assertMatch((await damagesOf(directory))[0]!, /too high an id: .* received 5 \(channel 5\)/);
    change(ch1, (bytes) => void (bytes[24] = 0));
    assertMatch((await damagesOf(directory))[0]!, /Two channels have one id: .* \(channel 0\)/);
  }));

test("packetsOf() misses the set-up SYNC", () =>
  withCopy("qpl", async (directory) => {
    change(path.join(directory, "ch0.bin"), (bytes) => void (bytes[64 + 11] = 0));
    assertEquals(await damagesOf(directory), [
      "Channel's first packet is not the set-up SYNC (channel 0, packet 0, offset 0x40)",
    ]);
  }));
