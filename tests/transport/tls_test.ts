/** TLS connections once they stand. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { PeerClosedError } from "../../mod.ts";
import type { Connection } from "../../src/transport/connection.ts";
import { same } from "../methods/_pages.ts";
import { Random } from "../_random.ts";
import { ca, connect, HERE, LISTENER, listening, tlsTest } from "./_tls.ts";

/** A connection's two ends. */
async function pair(): Promise<{ client: Connection; server: Connection }> {
  const { port, listener, accepted, settled } = await listening(ca!.issue(LISTENER));
  const client = await connect(port);
  await settled(1);
  listener.close();
  return { client, server: accepted[0]! };
}

for (const seed of [1, 2]) {
  tlsTest(`TLS carries bytes both ways, whatever the split, seed ${seed}`, async () => {
    const ends = await pair();
    const move = async (from: Connection, to: Connection, seed: number): Promise<void> => {
      const random = new Random(seed);
      const stream = random.bytes(3_000_000);
      const sending = async (): Promise<void> => {
        for (let at = 0; at < stream.length;) {
          const [first, second] = [1 + random.below(300_000), random.below(70_000)];
          const more = random.below(2) === 0 ? undefined : second;
          await from.write(
            stream.subarray(at, at + first),
            more === undefined ? undefined : stream.subarray(at + first, at + first + more),
          );
          at = Math.min(stream.length, at + first + (more ?? 0));
          assertEquals(from.bytesWritten, at);
        }
      };
      const reading = async (): Promise<void> => {
        const got = new Uint8Array(stream.length);
        for (let at = 0; at < got.length;) {
          const into = got.subarray(at, at + 1 + random.below(400_000));
          assertEquals(await to.read(into), into.length);
          at += into.length;
        }
        assert(same(got, stream));
        assertEquals(to.bytesRead, stream.length);
      };
      await Promise.all([sending(), reading()]);
    };
    await Promise.all([
      move(ends.client, ends.server, seed),
      move(ends.server, ends.client, seed + 10),
    ]);
    ends.client.end();
    assertEquals(await ends.server.readSome(), undefined);
    assertEquals(await ends.server.read(new Uint8Array(3)), 0);
    ends.client.destroy();
    ends.server.destroy();
  });
}

/** Far more than the system keeps of a connection that nobody reads. */
const MORE_THAN_ANYONE_KEEPS = 96 * 2 ** 20;
/** So long nothing is taken before it counts as held back, in milliseconds. */
const STANDSTILL_MS = 500;

for (const who of ["client", "server"] as const) {
  tlsTest(`the ${who} is held back while the other does not read`, async () => {
    const ends = await pair();
    const [writer, reader] = who === "client"
      ? [ends.client, ends.server]
      : [ends.server, ends.client];
    const piece = new Uint8Array(2 ** 19).fill(7);
    await writer.write(piece);
    assertEquals(await reader.read(new Uint8Array(10)), 10);
    const writing = (async () => {
      while (writer.bytesWritten < MORE_THAN_ANYONE_KEEPS) await writer.write(piece);
    })();
    for (let before = -1; before !== writer.bytesWritten;) {
      before = writer.bytesWritten;
      await new Promise((resolve) => setTimeout(resolve, STANDSTILL_MS));
    }
    assert(writer.bytesWritten < MORE_THAN_ANYONE_KEEPS / 2, `${writer.bytesWritten} bytes went`);
    const into = new Uint8Array(2 ** 20);
    for (let read = 10; read < MORE_THAN_ANYONE_KEEPS; read += into.length) {
      const rest = into.subarray(0, Math.min(into.length, MORE_THAN_ANYONE_KEEPS - read));
      assertEquals(await reader.read(rest), rest.length);
      assert(rest.every((byte) => byte === 7));
    }
    await writing;
    writer.destroy();
    reader.destroy();
  });

  tlsTest(`the ${who}'s waiting write fails when the other drops the connection`, async () => {
    const ends = await pair();
    const [writer, reader] = who === "client"
      ? [ends.client, ends.server]
      : [ends.server, ends.client];
    const piece = new Uint8Array(2 ** 19);
    const writing = assertRejects(async () => {
      for (;;) await writer.write(piece);
    }, PeerClosedError);
    await new Promise((resolve) => setTimeout(resolve, STANDSTILL_MS));
    reader.destroy(new Error("enough"));
    await writing;
    writer.destroy();
  });
}

tlsTest("a stream that is cut gives what came, and its end", async () => {
  const { port, listener, accepted, settled } = await listening(ca!.issue(LISTENER));
  const carriers: net.Socket[] = [];
  const proxy = net.createServer((near) => {
    const far = net.connect(port, HERE);
    near.pipe(far, { end: false }).pipe(near, { end: false });
    carriers.push(near.on("error", () => {}), far.on("error", () => {}));
  }).listen(0, HERE);
  await once(proxy, "listening");
  const client = await connect((proxy.address() as net.AddressInfo).port);
  await settled(1);
  await client.write(new Uint8Array(1000));
  const into = new Uint8Array(4000);
  const read = accepted[0]!.read(into);
  while (accepted[0]!.bytesRead < 1000) await new Promise((resolve) => setTimeout(resolve, 5));
  carriers[1]!.end();
  assertEquals(await read, 1000);
  assertEquals(await accepted[0]!.readSome(), undefined);
  for (const end of [client, accepted[0]!, ...carriers]) end.destroy();
  proxy.close();
  listener.close();
});

/** What openssl's own client says of the end of a connection. */
async function seenByOpenssl(end: (connection: Connection) => void): Promise<string> {
  const { port, listener, accepted, settled } = await listening(ca!.issue(LISTENER));
  const child = spawn("openssl", ["s_client", "-connect", `${HERE}:${port}`, "-quiet"]);
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => said += text);
  child.stdout.resume();
  await settled(1);
  await accepted[0]!.write(new Uint8Array(10));
  end(accepted[0]!);
  await once(child, "close");
  listener.close();
  return said;
}

tlsTest("destroy() ends with close_notify", async () => {
  assert(!(await seenByOpenssl((connection) => connection.destroy())).includes("unexpected eof"));
});

tlsTest("destroy() after an error does not", async () => {
  const said = await seenByOpenssl((connection) => connection.destroy(new Error("broken")));
  assertMatch(said, /unexpected eof/);
});
