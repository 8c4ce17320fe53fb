/** What a channel's time goes into, on a clock that only the connection and the codec move. */
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import type { ChannelSession } from "../../src/channels/channel_session.ts";
import { type ChannelCounters, COUNTERS_SIZE, makeCounters } from "../../src/channels/counters.ts";
import { PageWork } from "../../src/channels/page_work.ts";
import { ReceivingChannel } from "../../src/channels/receiving_channel.ts";
import { SendingChannel } from "../../src/channels/sending_channel.ts";
import type { Method } from "../../src/methods/method.ts";
import { methodByName } from "../../src/methods/registry.ts";
import { PACKET_SIZE } from "../../src/protocol/ram_packet.ts";
import { GuestRam } from "../../src/ram/guest_ram.ts";
import type { Connection } from "../../src/transport/connection.ts";
import { MemoryImage } from "../../mod.ts";
import { mixedPages } from "../migration/_migrate.ts";

const PAGE = 4096;
const PACKETS = 3;
/** What each read or write, each packet's codec, and everything else takes, in milliseconds. */
const [WIRE, CODEC, REST] = [5, 70, 1000] as const;

let now = 0;

/** Runs with the clock in hand. */
async function onOurClock(run: () => Promise<void>): Promise<void> {
  const { performance } = globalThis;
  const real = performance.now;
  performance.now = () => now;
  try {
    await run();
  } finally {
    performance.now = real;
  }
}

const image = mixedPages(PACKETS * PACKET_SIZE / PAGE, PAGE, 1);
const blocks = [{ name: "pc.ram", usedLength: image.length }];

/** SYNCs of a channel: of the set-up, of the pages' round, of RAM's end. */
const SYNCS = 3;

/** What a channel of three packets writes, its greeting first. */
async function sent(method: Method, stream: Uint8Array[]): Promise<ChannelCounters> {
  const channel = new SendingChannel({
    id: 0,
    connection: connection({ write: (...parts) => void stream.push(...parts) }),
    method,
    sender: {
      prepare(pages, out) {
        now += CODEC;
        out.set(pages);
        return pages.length;
      },
      cleanup() {},
    },
    pageSize: PAGE,
    zeroPages: "multifd",
    source: {
      blocks,
      read(_, at, into) {
        now += REST;
        into.set(image.subarray(at, at + into.length));
      },
    },
    work: new PageWork(blocks),
    sendZeroPages() {},
  });
  await channel.begin(new Uint8Array(16));
  await channel.sendAll();
  return channel.counters;
}

/** A connection whose every read or write takes its time. */
function connection(
  io: { read?: (into: Uint8Array) => number; write?: (...parts: Uint8Array[]) => void },
): Connection {
  return {
    name: "channel 0",
    bytesRead: 0,
    bytesWritten: 0,
    read(into) {
      now += WIRE;
      return io.read!(into);
    },
    readSome: () => undefined,
    write(bytes, more) {
      now += WIRE;
      // a channel uses its buffers again
      io.write!(bytes.slice(), ...(more === undefined ? [] : [more.slice()]));
    },
    end() {},
    destroy() {},
  };
}

test("SendingChannel tells compressing from waiting for its connection", () =>
  onOurClock(async () => {
    const { codecTime, waitTime } = await sent(methodByName("zstd")!, []);
    assertEquals([codecTime, waitTime], [PACKETS * CODEC, (PACKETS + SYNCS) * WIRE]);
  }));

test("SendingChannel only waits where nothing is compressed", () =>
  onOurClock(async () => {
    const { codecTime, waitTime } = await sent(methodByName("none")!, []);
    assertEquals([codecTime, waitTime], [0, (PACKETS + SYNCS) * WIRE]);
  }));

/** A receiver's side that takes as long for each packet as its codec. */
function slowly(method: Method): Method {
  return {
    ...method,
    receiveSetup: () => ({
      receive(payload, pages) {
        now += CODEC;
        pages.set(payload);
      },
      cleanup() {},
    }),
  };
}

test("ReceivingChannel tells decompressing from waiting for its connection", () =>
  onOurClock(async () => {
    const method = methodByName("zstd")!;
    const stream: Uint8Array[] = [];
    await sent(method, stream);
    const [_greeting, ...rest] = stream;
    const bytes = new Uint8Array(await new Blob(rest as BlobPart[]).arrayBuffer());
    let at = 0;
    let reads = 0;
    const read = (into: Uint8Array): number => {
      const part = bytes.subarray(at, at + into.length);
      into.set(part);
      at += part.length;
      if (part.length > 0) reads++;
      return part.length;
    };
    const target = new MemoryImage();
    target.create(blocks, PAGE);
    const session: ChannelSession = {
      pageSize: Promise.resolve(PAGE),
      ram: new GuestRam(blocks, PAGE, target),
      barrier: {
        stop() {
          now += REST;
          return Promise.resolve();
        },
        leave() {},
      },
      packetNumbers: { add() {} },
      fallback: true,
      verify: false,
      isEnding: true,
      isOver: false,
      begin() {},
      quiet() {},
      methodOf: () => ({ method: slowly(method), engine: undefined }),
    };
    const channel = new ReceivingChannel(0, connection({ read }), session);
    await channel.run();
    const { codecTime, waitTime, packets } = channel.counters;
    assertEquals(packets, PACKETS + SYNCS);
    assertEquals([codecTime, waitTime], [PACKETS * CODEC, reads * WIRE]);
    assertEquals(target.memory.get("pc.ram"), image);
  }));

test("makeCounters() counts in memory that another thread sees", () => {
  const shared = new SharedArrayBuffer(COUNTERS_SIZE);
  const [ours, theirs] = [makeCounters(1, shared), makeCounters(1, shared)];
  ours.codecTime += 1.5;
  ours.waitTime += 2;
  assertEquals([theirs.codecTime, theirs.waitTime, theirs.bytes], [1.5, 2, 0]);
});
