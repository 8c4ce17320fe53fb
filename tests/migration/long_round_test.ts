/** A round of more packets than are kept in mind: a guest of 64 GiB has so many. */
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { HostilePeer } from "../hostile/_peer.ts";
import { startReceiver, TRANSPORTS } from "./_migrate.ts";
import { join, makeScript, packet, sync } from "./_script.ts";

/** On each of two channels; packet_num counts over both. */
const PACKETS = 70_000;
const AT_ONCE = 500;

const zeroPage = packet({ zeroPages: 1, normalPages: 0, offsets: Float64Array.of(0) });
const wave = new Uint8Array(AT_ONCE * zeroPage.length);
for (let i = 0; i < AT_ONCE; i++) wave.set(zeroPage, i * zeroPage.length);

/** Every other number from one on, as the numbers of the wave's packets. */
function numbered(from: number): Uint8Array {
  const view = new DataView(wave.buffer);
  for (let i = 0; i < AT_ONCE; i++) view.setUint32(i * zeroPage.length + 28, from + 2 * i);
  return wave;
}

for (const transport of TRANSPORTS) {
  test(`receive() on ${transport} sockets finds no gap in a long round`, async () => {
    const script = makeScript();
    const { port, received } = await startReceiver({ transport, channels: 2, timeout: 20_000 });
    const main = await HostilePeer.connect({ port });
    await main.write(script.main.head, script.main.start);
    const peers = [];
    for (const { greeting, setup, data } of script.channels) {
      const peer = await HostilePeer.connect({ port });
      await peer.write(greeting, setup, data);
      peers.push(peer);
    }
    // 0 to 3 have come
    for (let sent = 0; sent < PACKETS; sent += AT_ONCE) {
      for (const [i, peer] of peers.entries()) await peer.write(numbered(4 + i + 2 * sent));
    }
    const next = 4 + 2 * PACKETS;
    for (const [i, peer] of peers.entries()) await peer.write(sync(next + i), sync(next + 2 + i));
    await main.write(join(script.main.part, script.main.end, script.main.tail));
    const { perChannel } = await received;
    assertEquals(perChannel.map(({ packets }) => packets), [PACKETS + 4, PACKETS + 4]);
  });
}
