/** More channels than threads: each goes on as if it had a thread of its own. */
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { MemoryImage, ProtocolError } from "../../mod.ts";
import { MOST_THREADS } from "../../src/channels/channel_workers.ts";
import { same } from "../methods/_pages.ts";
import { migrate, RawPeer, sharedPages, startReceiver } from "./_migrate.ts";
import { ANSWER_SIZE, makeScript, packet, receiveScript } from "./_script.ts";

/** Three in one thread, two in each other. */
const CHANNELS = 2 * MOST_THREADS + 1;
const PAGE = 4096;
const PAGES = CHANNELS * 128 * 3 + 5;
const GUEST = sharedPages(PAGES, PAGE, 1);
const MANY = { channels: CHANNELS, engine: "auto" } as const;
const NATIVE = { engine: "auto", transport: "native" } as const;

const WAYS = [
  ["none", "native", "native"],
  ["zlib", "native", "native"],
  ["zstd", "native", "native"],
  ["qpl", "native", "native"],
  ["uadk", "native", "native"],
  ["qatzip", "native", "native"],
  ["none", "native", "runtime"],
  ["zstd", "runtime", "native"],
] as const;

for (const [method, from, to] of WAYS) {
  test(`${method} arrives over more channels than threads, ${from} to ${to}`, async () => {
    const source = new MemoryImage({ "pc.ram": GUEST });
    const { received, image } = await migrate(
      source,
      { ...MANY, method, transport: from },
      { engine: "auto", transport: to },
    );
    assertEquals(
      received.perChannel.map(({ id }) => id),
      Array.from({ length: CHANNELS }).keys().toArray(),
    );
    assertEquals(received.ram.normal + received.ram.duplicate, PAGES);
    assert(same(GUEST, image.memory.get("pc.ram")!));
  });
}

test("a rate limit holds all channels of a thread", async () => {
  const source = new MemoryImage({ "pc.ram": GUEST });
  const options = { ...MANY, ...NATIVE, method: "zstd", maxBandwidth: 2 ** 30 };
  const { received } = await migrate(source, options, NATIVE);
  assertEquals(received.ram.normal + received.ram.duplicate, PAGES);
});

for (const id of [0, MOST_THREADS, CHANNELS - 1]) {
  test(`a failure of channel ${id} of ${CHANNELS} is told as that channel's`, async () => {
    const script = makeScript("round", CHANNELS);
    script.channels[id]!.data = packet({ flags: 0x7000, offsets: Float64Array.of(0) });
    const { received } = await receiveScript(script, NATIVE);
    const error = await assertRejects(() => received, ProtocolError);
    assertEquals(error.facts.channel, id);
  });

  test(`channel ${id} of ${CHANNELS} that is late keeps no other waiting`, async () => {
    const script = makeScript("round", CHANNELS);
    const { port, received, image } = await startReceiver({ ...NATIVE, channels: CHANNELS });
    const { head, returnPath, ping, start, ...rest } = script.main;
    const main = await RawPeer.connect(port);
    main.write(head, returnPath, ping, start);
    const peers: RawPeer[] = [];
    for (const { greeting, setup } of script.channels) {
      const peer = await RawPeer.connect(port);
      peers.push(peer.write(greeting, setup));
    }
    for (const [i, { data }] of script.channels.entries()) if (i !== id) peers[i]!.write(data);
    const arrived = (): number[] =>
      script.channels.keys().toArray().filter((i) =>
        image.memory.get("pc.ram")?.[i * 2 * PAGE] === 0x55
      );
    while (arrived().length < CHANNELS - 1) await sleep(2);
    assertEquals(arrived().includes(id), false);
    peers[id]!.write(script.channels[id]!.data);
    for (const [i, { partSync, endSync }] of script.channels.entries()) {
      peers[i]!.write(partSync, endSync).socket.end();
    }
    main.write(...Object.values(rest));
    await main.read(ANSWER_SIZE);
    main.socket.end();
    assertEquals((await received).ram.normal, 2 * CHANNELS);
  });
}
