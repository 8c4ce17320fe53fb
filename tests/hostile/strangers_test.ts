/** Connections that are none of the migration's: however many come, the right one goes on. */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { ReceiveOptions } from "../../mod.ts";
import { mostArrivals } from "../../src/migration/arrivals.ts";
import { here, start } from "../cli/_command.ts";
import { RawPeer, startReceiver, temporaryDirectory, TRANSPORTS } from "../migration/_migrate.ts";
import { makeScript, play } from "../migration/_script.ts";
import { ca, connect, LISTENER, listening, tlsTest } from "../transport/_tls.ts";
import { HostilePeer } from "./_peer.ts";

/** How many connections come that say nothing; `deno task hostile` has thousands. */
const CROWD = process.env.HOSTILE === "all" ? 3000 : 200;

/** As many descriptors as a receiver may have: it needs about fifty itself. */
const DESCRIPTORS = 100;

interface Receiving {
  port: number;
  warnings: string[];
  /** Plays a migration, and waits for its end. */
  migrate(): Promise<void>;
}

/** Starts a receiver. */
async function receiving(options: Partial<ReceiveOptions>): Promise<Receiving> {
  const warnings: string[] = [];
  const receiver = await startReceiver({
    ...options,
    onEvent: (event) => event.type === "warning" && warnings.push(event.message),
  });
  const migrate = async (): Promise<void> => {
    const [main] = await play(makeScript(), receiver.port);
    main!.read(16).then(() => main!.socket.end());
    await receiver.received;
    assert(receiver.image.memory.get("pc.ram")!.every((byte) => byte === 0x55));
  };
  return { port: receiver.port, warnings, migrate };
}

const text = (bytes: string): Uint8Array => new TextEncoder().encode(bytes);

/** A stranger, and what is said of it. */
const STRANGERS: [who: string, visit: (peer: RawPeer) => void, says: RegExp][] = [
  ["closes at once", (peer) => peer.socket.end(), /^Peer of connection 0 said nothing, ignored$/],
  [
    "resets at once",
    (peer) => peer.socket.resetAndDestroy(),
    /^(Peer dropped connection 0 \(ECONNRESET\)|Peer of connection 0 said nothing), ignored$/,
  ],
  [
    "says two bytes and leaves",
    (peer) => peer.write(text("QE")).socket.end(),
    /^Peer closed connection 0 inside its first bytes: expected 4 bytes, received 2, ignored$/,
  ],
  [
    "speaks HTTP",
    (peer) => peer.write(text("GET / HTTP/1.0\r\n\r\n")),
    /no channel's magic: expected 0x5145564d or 0x11223344, received 0x47455420, ignored$/,
  ],
  [
    "speaks TLS",
    (peer) => peer.write(Uint8Array.of(0x16, 3, 1, 0, 200)),
    /^Peer of connection 0 speaks TLS \(see --tls-cert\), ignored$/,
  ],
  ["says nothing", () => {}, /^Peer of connection 0 was dropped: .* within 0.5 s, ignored$/],
  [
    "says a byte now and then",
    (peer) => {
      // the fourth would say that it is no channel, which must not come before its time is over
      const timer = setInterval(() => peer.socket.write("Q"), 400);
      peer.closed.then(() => clearInterval(timer));
    },
    /^Peer of connection 0 was dropped: .* within 0.5 s, ignored$/,
  ],
];

for (const transport of TRANSPORTS) {
  test(`a waiting receive() on ${transport} sockets passes over who is no source`, async () => {
    await Promise.all(STRANGERS.map(async ([who, visit, says]) => {
      const { port, warnings, migrate } = await receiving({ transport, timeout: 500 });
      visit(await RawPeer.connect(port));
      // as long as a migration may stand still, and twice as long
      while (warnings.length === 0) await sleep(20);
      await sleep(1000);
      assertEquals(warnings.length, 1, who);
      assertMatch(warnings[0]!, says);
      await migrate();
    }));
  });

  test(`receive() on ${transport} sockets migrates while someone says nothing`, async () => {
    for (const channels of [2, undefined]) {
      const { port, warnings, migrate } = await receiving({ transport, channels, timeout: 1000 });
      await RawPeer.connect(port);
      await migrate();
      // where it has not been told their number, it waits to see that this is no channel
      assertEquals(warnings.length, channels === undefined ? 1 : 0);
    }
  });

  test(`receive() on ${transport} sockets keeps few of a crowd that says nothing`, async () => {
    const { port, warnings, migrate } = await receiving({ transport, channels: 2 });
    const crowd: HostilePeer[] = [];
    for (let i = 0; i < CROWD; i++) crowd.push(await HostilePeer.connect({ port }));
    const most = mostArrivals(2);
    while (crowd.filter(({ isCutOff }) => !isCutOff).length > most) await sleep(10);
    assertEquals(crowd.map(({ isCutOff }) => isCutOff).lastIndexOf(true), CROWD - most - 1);
    await migrate();
    assertMatch(
      warnings[0]!,
      /^Peer of connection 0 was dropped: 67 connections wait that do not say what they are, ignored$/,
    );
    assertMatch(warnings.at(-1)!, /, ignored, 1?0*0 so far$/);
    assert(warnings.length <= 8 + 4, `${warnings.length} warnings`);
    await Promise.all(crowd.map(({ cutOff }) => cutOff));
  });
}

tlsTest(
  "listenTls() keeps few of a crowd that begins no handshake, and takes the next",
  async () => {
    const most = 8;
    const { port, listener, accepted, failed, settled } = await listening(
      ca!.issue(LISTENER),
      false,
      most,
    );
    const crowd: HostilePeer[] = [];
    for (let i = 0; i < 4 * most; i++) crowd.push(await HostilePeer.connect({ port }));
    await settled(3 * most);
    assertMatch(failed[0]!.message, /^TLS handshake was dropped: 8 newer ones came$/);
    const client = await connect(port);
    await settled(3 * most + 2);
    assertEquals([accepted.length, failed.length], [1, 3 * most + 1]);
    client.destroy();
    accepted[0]!.destroy();
    listener.close();
    await Promise.all(crowd.map(({ cutOff }) => cutOff));
  },
);

// the runtime's own listeners cannot be asked to: Deno's takes nobody any more after such an error
test("recv on native sockets outlives a crowd that takes its last descriptors", async () => {
  const directory = temporaryDirectory();
  const few = ["sh", "-c", `ulimit -n ${DESCRIPTORS} && exec "$@"`, "sh"];
  const out = path.join(directory, "vm");
  const args = ["recv", out, "--transport", "native", "--channels", "2", "--timeout", "10"];
  const recv = start(here, args, few);
  const port = Number((await recv.line(/^listening on (.*)$/))!.split(":").at(-1));
  const open = (): number => fs.readdirSync(`/proc/${recv.child.pid}/fd`).length;
  // its threads read their modules first
  await sleep(1000);
  const crowd: HostilePeer[] = [];
  while (open() < DESCRIPTORS) crowd.push(await HostilePeer.connect({ port }));
  await sleep(200);
  for (const { socket } of crowd) socket.destroy();
  const [main] = await play(makeScript(), port);
  main!.read(16).then(() => main!.socket.end());
  const { code, stderr } = await recv.outcome;
  assertEquals(code, 0, stderr);
  fs.rmSync(directory, { recursive: true });
});
