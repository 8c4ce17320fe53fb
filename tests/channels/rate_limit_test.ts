import { test } from "node:test";
import { assertEquals, assertRejects } from "@std/assert";
import { RateLimit } from "../../src/channels/rate_limit.ts";
import { SendingChannel } from "../../src/channels/sending_channel.ts";
import { PageWork } from "../../src/channels/page_work.ts";
import { CancelledError } from "../../src/errors.ts";
import type { Method } from "../../src/methods/method.ts";
import { methodByName } from "../../src/methods/registry.ts";
import { PACKET_SIZE } from "../../src/protocol/ram_packet.ts";
import type { Connection } from "../../src/transport/connection.ts";
import { mixedPages } from "../migration/_migrate.ts";

const PAGE = 4096;
const START = 1_000_000;
/** Bytes a second that make a byte last a millisecond. */
const RATE = 1000;

/** A limit on a clock that is set by hand. */
function limitAt(clock: { now: number }, shared: number | SharedArrayBuffer = RATE): RateLimit {
  return new RateLimit(shared, false, () => clock.now);
}

test("RateLimit lets bytes out when they would be through at the rate", () => {
  const limit = limitAt({ now: START });
  assertEquals([100, 200, 50].map((bytes) => limit.reserve(bytes) - START), [100, 300, 350]);
});

test("RateLimit makes no difference between one thread's bytes and another's", () => {
  const clock = { now: START };
  const one = limitAt(clock);
  const other = limitAt(clock, one.shared);
  assertEquals(one.reserve(100), START + 100);
  assertEquals(other.reserve(100), START + 200);
  assertEquals(one.reserve(100), START + 300);
});

test("RateLimit makes up for a short stall, and for a tenth of a second of a long one", () => {
  const clock = { now: START };
  const limit = limitAt(clock);
  limit.reserve(1000);
  clock.now = START + 1060;
  assertEquals(limit.reserve(100), START + 1100, "60 ms late, as if it had not been");
  clock.now = START + 9000;
  assertEquals(limit.reserve(150), START + 9050, "seconds late");
});

test("RateLimit never lets more out than the rate gives from the first byte on", () => {
  const clock = { now: START };
  const limit = limitAt(clock);
  let sent = 0;
  for (let i = 0; i < 1000; i++) {
    const bytes = 1 + (i * 7919) % 512;
    const at = limit.reserve(bytes);
    sent += bytes;
    // now and then the sender is late, as a busy machine makes it
    clock.now = Math.max(clock.now, at) + (i % 10 === 0 ? 70 : 0);
    const most = (clock.now - START) * RATE / 1000;
    assertEquals(sent <= most + 1, true, `${sent} bytes of ${most} after ${i + 1} packets`);
  }
});

test("RateLimit ends all waiting when the migration is over", async () => {
  const limit = new RateLimit(RATE);
  const waiting = limit.until(limit.reserve(1_000_000));
  new RateLimit(limit.shared).stop();
  await assertRejects(() => waiting, CancelledError);
});

/** A connection that notes what happens. */
function notingConnection(events: string[]): Connection {
  return {
    name: "channel 0",
    bytesRead: 0,
    bytesWritten: 0,
    read: () => 0,
    readSome: () => undefined,
    write: () => void events.push("write"),
    end() {},
    destroy() {},
  };
}

/** A channel of three packets whose every packet must wait. */
function waitingChannel(method: Method, events: string[]): SendingChannel {
  const image = mixedPages(3 * PACKET_SIZE / PAGE, PAGE, 1);
  const blocks = [{ name: "pc.ram", usedLength: image.length }];
  return new SendingChannel({
    id: 0,
    connection: notingConnection(events),
    method,
    sender: {
      prepare: () => events.push("compress"),
      cleanup() {},
    },
    pageSize: PAGE,
    zeroPages: "multifd",
    source: { blocks, read: (_, at, into) => into.set(image.subarray(at, at + into.length)) },
    work: new PageWork(blocks),
    sendZeroPages() {},
    limit: {
      reserve: () => 0,
      isDue: () => false,
      until: () => (events.push("wait"), Promise.resolve()),
    },
  });
}

/** What the two SYNCs behind the pages do. */
const SYNCS = ["wait", "write", "wait", "write"];

test("SendingChannel compresses the next packet while one waits for the link", async () => {
  const events: string[] = [];
  await waitingChannel(methodByName("zstd")!, events).sendAll();
  const packet = ["compress", "wait", "write"];
  const pages = ["compress", ...packet, ...packet, "wait", "write"];
  assertEquals(events, [...pages, ...SYNCS]);
});

test("SendingChannel waits before it writes what is not compressed", async () => {
  const events: string[] = [];
  await waitingChannel(methodByName("none")!, events).sendAll();
  const pages = ["wait", "write", "wait", "write", "wait", "write"];
  assertEquals(events, [...pages, ...SYNCS]);
});
