import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  type MultifdError,
  PeerClosedError,
  ProtocolError,
  TimedOutError,
  UnsupportedError,
  VerificationError,
} from "../../mod.ts";
import { FLAG_SYNC } from "../../src/protocol/ram_packet.ts";
import { RawPeer, startReceiver, TRANSPORTS } from "./_migrate.ts";
import {
  join,
  makeScript,
  packet,
  pagesPacket,
  play,
  receiveScript,
  type Script,
  sync,
} from "./_script.ts";

// deno-lint-ignore no-explicit-any
type ErrorClass = new (...args: any[]) => MultifdError;
type Broken = [
  what: string,
  change: (script: Script) => void,
  ErrorClass: ErrorClass,
  message: RegExp,
];

const zlibFlag = { flags: 0x02 };
const oneOffset = Float64Array.from([0]);

const BROKEN: Broken[] = [
  [
    "a greeting of another version",
    (s) => s.channels[1]!.greeting[7] = 2,
    ProtocolError,
    /version/,
  ],
  [
    "an id that is too high",
    (s) => s.channels[1]!.greeting[24] = 2,
    ProtocolError,
    /below 2.*channel 2/,
  ],
  [
    "an id twice",
    (s) => s.channels[1]!.greeting[24] = 0,
    ProtocolError,
    /already connected.*channel 0/,
  ],
  [
    "channels of two guests",
    (s) => s.channels[1]!.greeting[8] = 1,
    ProtocolError,
    // whichever greets later
    /different guests.*channel [01]/,
  ],
  [
    "data before the set-up SYNC",
    (s) => s.channels[1]!.setup = new Uint8Array(0),
    ProtocolError,
    /not the set-up SYNC.*channel 1, packet 0/,
  ],
  [
    "a packet of another method",
    (s) =>
      s.channels[1]!.data = packet({
        ...zlibFlag,
        packetNum: 3,
        offsets: oneOffset,
        nextPacketSize: 1,
      }),
    ProtocolError,
    /another compression method than was agreed: expected none, received zlib.*channel 1, packet 1/,
  ],
  [
    "a payload of a wrong size",
    (s) => s.channels[1]!.data = packet({ packetNum: 3, offsets: oneOffset }, new Uint8Array(4095)),
    ProtocolError,
    /wrong size: expected 4096, received 4095.*channel 1, packet 1/,
  ],
  [
    "a page past the end of its block",
    (s) => s.channels[1]!.data = pagesPacket(3, [4 * 4096]),
    ProtocolError,
    /past the end.*channel 1, packet 1, block "pc.ram", offset 0x4000/,
  ],
  [
    "a packet after the last SYNC",
    (s) => s.channels[1]!.after = pagesPacket(8, [0]),
    ProtocolError,
    /after the last SYNC.*channel 1/,
  ],
  [
    "a page that never arrives",
    (s) => s.channels[1]!.data = pagesPacket(3, [2 * 4096]),
    ProtocolError,
    /never arrived: 1 of "pc.ram"/,
  ],
  [
    "a gap in packet_num",
    (s) => s.channels[1]!.data = pagesPacket(30, [2 * 4096, 3 * 4096]),
    ProtocolError,
    /packet_num has a gap: expected 3/,
  ],
  [
    "a channel that ends before its SYNC",
    (s) => s.channels[1]!.endSync = new Uint8Array(0),
    PeerClosedError,
    /channel 1/,
  ],
  [
    "a channel that ends inside a header",
    (s) => s.channels[1]!.partSync = s.channels[1]!.endSync = sync(5).subarray(0, 672),
    PeerClosedError,
    /channel 1/,
  ],
  [
    "a channel that ends inside a payload",
    (s) => {
      const channel = s.channels[1]!;
      channel.data = channel.data.subarray(0, -100);
      channel.partSync = channel.endSync = new Uint8Array(0);
    },
    PeerClosedError,
    /inside a payload, 100 bytes are missing.*channel 1, packet 1/,
  ],
  [
    "a main channel that ends early",
    (s) => s.main.tail = new Uint8Array(0),
    PeerClosedError,
    /before the VM description.*main channel/,
  ],
  [
    "a stream of no magic",
    (s) => s.main.head = Uint8Array.from(s.main.head, (byte, i) => i === 7 ? 4 : byte),
    ProtocolError,
    /wrong version: expected 3, received 4 \(main channel/,
  ],
  [
    "postcopy",
    (s) => s.main.ping = Uint8Array.of(8, 0, 3, 0, 0),
    UnsupportedError,
    /postcopy/,
  ],
  [
    "VFIO device state on a channel",
    (s) => {
      const state = new Uint8Array(276 + 8);
      state.set(sync(0).subarray(0, 12));
      state[11] = 0x40;
      state.set(new TextEncoder().encode("0000:00:03.0/vfio"), 12);
      state[275] = 8;
      s.channels[1]!.data = join(state, s.channels[1]!.data);
    },
    UnsupportedError,
    /VFIO device state of "0000:00:03.0\/vfio".*channel 1, packet 1/,
  ],
];

// each on one transport under Deno, on the other under Bun, unless BROKEN=all: a thread costs much
const isAll = process.env.BROKEN === "all";
const first = "Deno" in globalThis ? 0 : 1;

for (const [i, transport] of TRANSPORTS.entries()) {
  const rows = BROKEN.filter((_, row) => isAll || (row + first) % TRANSPORTS.length === i);
  for (const [what, change, ErrorClass, message] of rows) {
    test(`receive() on ${transport} sockets refuses ${what}`, async () => {
      const script = makeScript();
      change(script);
      const { received } = await receiveScript(script, { transport, method: "none" });
      const error = await assertRejects(() => received, ErrorClass);
      assertMatch(error.message, message);
    });
  }
}

for (const transport of TRANSPORTS) {
  test(`receive() on ${transport} sockets refuses a corrupt payload with channel, packet and block`, async () => {
    const script = makeScript();
    const payload = new Uint8Array(100).fill(0xff);
    script.channels[1]!.data = new Uint8Array(0);
    script.channels[0]!.data = packet({ ...zlibFlag, packetNum: 2, offsets: oneOffset }, payload);
    const { received } = await receiveScript(script, { transport });
    const error = await assertRejects(() => received, VerificationError, "Cannot decode zlib");
    const { channel, packet: ordinal, block } = error.facts;
    assertEquals({ channel, ordinal, block }, { channel: 0, ordinal: 1, block: "pc.ram" });
  });

  test(`receive() on ${transport} sockets takes a migration that a source writes without waiting`, async () => {
    for (const mode of ["round", "section"] as const) {
      const { received, answer, image } = await receiveScript(makeScript(mode), { transport });
      const { sync } = await received;
      assertEquals(sync, mode);
      assert(image.memory.get("pc.ram")!.every((byte) => byte === 0x55));
      assertEquals(await answer, Uint8Array.of(0, 2, 0, 4, 0, 0, 0, 9, 0, 1, 0, 4, 0, 0, 0, 0));
    }
  });

  test(`receive() on ${transport} sockets answers SHUT 1 when it fails`, async () => {
    const script = makeScript();
    script.channels[1]!.data = pagesPacket(3, [4 * 4096]);
    const { received, answer } = await receiveScript(script, { transport });
    await assertRejects(() => received, ProtocolError);
    assertEquals((await answer).slice(-8), Uint8Array.of(0, 1, 0, 4, 0, 0, 0, 1));
  });

  test(`receive() on ${transport} sockets says nothing to a source that opened no return path`, async () => {
    const script = makeScript();
    script.main.returnPath = new Uint8Array(0);
    const receiver = await startReceiver({ transport, channels: 2 });
    const [main] = await play(script, receiver.port);
    await receiver.received;
    assertEquals(await main!.read(1), new Uint8Array(0));
  });

  test(`receive() on ${transport} sockets zeroes a page that came with data and comes again as zero`, async () => {
    const script = makeScript();
    const zero = packet({
      packetNum: 8,
      zeroPages: 1,
      normalPages: 0,
      offsets: Float64Array.of(4096),
    });
    script.channels[0]!.partSync = join(script.channels[0]!.partSync, zero);
    const { received, image } = await receiveScript(script, { transport });
    assertEquals((await received).repeatedPages, 1);
    const ram = image.memory.get("pc.ram")!;
    assert(ram.subarray(4096, 8192).every((byte) => byte === 0));
    assert(ram.subarray(0, 4096).every((byte) => byte === 0x55));
  });

  test(`receive() on ${transport} sockets takes the later round's copy of a page, whichever channel is faster`, async () => {
    const script = makeScript();
    // channel 1 rewrites a page of channel 0 in the next round, and is ready long before it
    script.channels[1]!.partSync = join(script.channels[1]!.partSync, pagesPacket(8, [0], 0x66));
    const receiver = await startReceiver({ transport, channels: 2 });
    const main = await RawPeer.connect(receiver.port);
    main.write(...Object.values(script.main));
    const fast = await RawPeer.connect(receiver.port);
    fast.write(...Object.values(script.channels[1]!));
    await new Promise((resolve) => setTimeout(resolve, 100));
    const slow = await RawPeer.connect(receiver.port);
    slow.write(...Object.values(script.channels[0]!));
    await main.read(16);
    main.socket.end();
    await receiver.received;
    assertEquals(receiver.image.memory.get("pc.ram")![0], 0x66);
  });

  test(`receive() on ${transport} sockets takes the dialect of QEMU 7.2`, async () => {
    const script = makeScript("section");
    const first = script.channels[0]!;
    // pages in a SYNC packet, a stale size without pages, repeated numbers, an empty packet at the end
    first.data = new Uint8Array(0);
    first.partSync = packet(
      { flags: FLAG_SYNC, packetNum: 4, offsets: Float64Array.of(0, 4096) },
      new Uint8Array(2 * 4096).fill(0x55),
    );
    first.endSync = packet({ flags: FLAG_SYNC, packetNum: 4, nextPacketSize: 777 });
    first.after = packet({ packetNum: 9 });
    const { received, image } = await receiveScript(script, { transport });
    assertEquals((await received).lenientPacketNumbers, true);
    assert(image.memory.get("pc.ram")!.every((byte) => byte === 0x55));
  });

  test(`receive() on ${transport} sockets takes missing pages as zero when told, and counts them`, async () => {
    const script = makeScript();
    script.channels[1]!.data = pagesPacket(3, [2 * 4096]);
    const { received, image } = await receiveScript(script, { transport, missing: "zero" });
    assertEquals((await received).blocks[0]!.missing, 1);
    assert(image.memory.get("pc.ram")!.subarray(3 * 4096).every((byte) => byte === 0));
  });

  test(`receive() on ${transport} sockets finds the number of channels at the first sync`, async () => {
    const { received } = await receiveScript(makeScript(), { transport, channels: undefined });
    assertEquals((await received).channels, 2);
  });

  test(`receive() on ${transport} sockets names --channels when a channel arrives later`, async () => {
    const script = makeScript();
    const last = script.channels.pop()!;
    script.main.part = script.main.end = script.main.tail = new Uint8Array(0);
    const receiver = await startReceiver({ transport });
    await play(script, receiver.port);
    await new Promise((resolve) => setTimeout(resolve, 300));
    (await RawPeer.connect(receiver.port)).write(...Object.values(last));
    const error = await assertRejects(() => receiver.received, ProtocolError, "--channels");
    assertEquals(error.facts.channel, 1);
  });

  test(`receive() on ${transport} sockets refuses ids with a gap when it was not told the number`, async () => {
    const script = makeScript();
    script.channels[0]!.greeting[24] = 5;
    const { received } = await receiveScript(script, { transport, channels: undefined });
    await assertRejects(() => received, ProtocolError, "ids without gaps from 0, received 1, 5");
  });

  test(`receive() on ${transport} sockets refuses a source without multifd`, async () => {
    const script = makeScript();
    script.channels = [];
    const { received } = await receiveScript(script, { transport, channels: undefined });
    await assertRejects(() => received, ProtocolError, "no multifd channels");
  });

  test(`receive() on ${transport} sockets refuses a method it was not told`, async () => {
    const { received } = await receiveScript(makeScript(), { transport, method: "zstd" });
    await assertRejects(() => received, ProtocolError, "expected zstd, received none");
  });

  test(`receive() on ${transport} sockets refuses more RAM than it was told to take`, async () => {
    const { received } = await receiveScript(makeScript(), { transport, maxRam: 3 * 4096 });
    await assertRejects(() => received, ProtocolError, "--max-ram");
  });

  test(`receive() on ${transport} sockets gives up when a channel never comes, and says which`, async () => {
    const script = makeScript();
    script.channels.pop();
    const { received } = await receiveScript(script, { transport, channels: 2, timeout: 600 });
    await assertRejects(() => received, TimedOutError, "1 of 2 channels are connected");
  });

  test(`receive() on ${transport} sockets gives up when the main channel stalls, and says where`, async () => {
    const script = makeScript();
    script.main.end = script.main.tail = new Uint8Array(0);
    const receiver = await startReceiver({ transport, channels: 2, timeout: 600 });
    await play(script, receiver.port);
    await assertRejects(() => receiver.received, TimedOutError, "a section of the RAM on the main");
  });
}
