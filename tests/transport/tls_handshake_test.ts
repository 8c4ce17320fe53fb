/** TLS handshakes, with peers that are not ours: who is refused, and in which words. */
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import tls from "node:tls";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { HandshakeError } from "../../mod.ts";
import { HANDSHAKE_MS } from "../../src/transport/tls.ts";
import type { Identity } from "../_certificates.ts";
import { ca, connect, HERE, LISTENER, listening, otherCa, tlsTest } from "./_tls.ts";

/** Long enough for a connection to be accepted, in milliseconds. */
const ACCEPT_MS = 300;

const pem = ({ cert, key }: Identity): Identity => ({
  cert: fs.readFileSync(cert, "utf8"),
  key: fs.readFileSync(key, "utf8"),
});

/** A listener that is not ours, and what connectTls() says of it. */
const BAD_LISTENERS: [name: string, identity: () => Identity, says: RegExp][] = [
  ["has expired", () => ca!.issue({ ...LISTENER, isExpired: true }), /has expired/],
  ["is of another CA", () => otherCa!.issue(LISTENER), /not signed by the CA/],
  ["is a client's", () => ca!.issue({}), /not signed by the CA, or not for this use|for its side/],
  [
    "is for another host",
    () => ca!.issue({ hosts: ["DNS:elsewhere.example"] }),
    /another host.*expected 127\.0\.0\.1, received DNS:elsewhere\.example/,
  ],
];

for (const [name, identity, says] of BAD_LISTENERS) {
  tlsTest(`connectTls() refuses a certificate that ${name}`, async () => {
    const server = tls.createServer(pem(identity())).listen(0, HERE);
    await once(server, "listening");
    const { port } = server.address() as net.AddressInfo;
    const error = await assertRejects(() => connect(port), HandshakeError);
    assertMatch(error.message, says);
    server.close();
  });
}

tlsTest("connectTls() takes a certificate for the host that it is told", async () => {
  const identity = ca!.issue({ hosts: ["DNS:elsewhere.example"] });
  const { port, listener } = await listening(identity);
  const client = await connect(port, {}, { hostname: "elsewhere.example" });
  client.destroy();
  const error = await assertRejects(
    () => connect(port, {}, { hostname: "localhost" }),
    HandshakeError,
  );
  assertMatch(error.message, /expected localhost, received DNS:elsewhere\.example/);
  listener.close();
});

/** A peer that does not speak TLS, and what connectTls() says of it. */
const STRANGERS: [name: string, serve: (socket: net.Socket) => void, says: RegExp][] = [
  ["answers in plain text", (socket) => socket.write("hello"), /does not speak TLS.*0x68/],
  ["leaves", (socket) => socket.end(), /does it speak TLS\?/],
  ["resets", (socket) => socket.resetAndDestroy(), /does it speak TLS\?/],
];

for (const [name, serve, says] of STRANGERS) {
  tlsTest(`connectTls() fails where a peer ${name}`, async () => {
    const server = net.createServer((socket) => {
      socket.on("error", () => {}).once("data", () => serve(socket));
    }).listen(0, HERE);
    await once(server, "listening");
    const { port } = server.address() as net.AddressInfo;
    const error = await assertRejects(() => connect(port), HandshakeError);
    assertMatch(error.message, says);
    server.close();
  });
}

/** A client that is not to be taken, and what the listener says of it. */
const BAD_CLIENTS: [name: string, identity: () => Identity | undefined, says: RegExp][] = [
  ["shows no certificate", () => undefined, /sent no certificate/],
  ["shows one of another CA", () => otherCa!.issue({}), /not signed by the CA/],
  ["shows an expired one", () => ca!.issue({ isExpired: true }), /has expired/],
  ["shows a listener's", () => ca!.issue(LISTENER), /not signed by the CA, or not for|its side/],
];

for (const [name, identity, says] of BAD_CLIENTS) {
  tlsTest(`listenTls() refuses who ${name}, and takes the next`, async () => {
    const { port, listener, accepted, failed, settled } = await listening(
      ca!.issue(LISTENER),
      true,
    );
    const own = identity();
    const client = tls.connect({
      ...{ port, host: HERE, servername: "", rejectUnauthorized: false },
      ...(own === undefined ? {} : pem(own)),
    }).on("error", () => {});
    await settled(1);
    assert(failed[0] instanceof HandshakeError);
    assertMatch(failed[0].message, says);
    client.destroy();
    (await connect(port, ca!.issue({}))).destroy();
    await settled(2);
    assertEquals([accepted.length, failed.length], [1, 1]);
    accepted[0]!.destroy();
    listener.close();
  });
}

tlsTest("connectTls() is told that it should show a certificate, or another", async () => {
  const { port, listener } = await listening(ca!.issue(LISTENER), true);
  for (const identity of [{}, { ...otherCa!.issue({}) }]) {
    const error = await assertRejects(async () => {
      const client = await connect(port, identity);
      await client.readSome();
    }, HandshakeError);
    assertMatch(error.message, /demands a certificate|may not take our certificate/);
  }
  listener.close();
});

tlsTest("listenTls() answers plain text with TLS's alert, and takes the next", async () => {
  const { port, listener, accepted, failed, settled } = await listening(ca!.issue(LISTENER));
  const stranger = net.connect(port, HERE).on("error", () => {});
  stranger.write("QEVM");
  const [alert] = await once(stranger, "data") as [Uint8Array];
  assertEquals([...alert.subarray(0, 2)], [0x15, 3]);
  await settled(1);
  assertMatch(failed[0]!.message, /does not speak TLS, its first byte is 0x51/);
  const client = await connect(port);
  await settled(2);
  assertEquals(accepted.length, 1);
  client.destroy();
  accepted[0]!.destroy();
  listener.close();
});

tlsTest("drain() waits for handshakes that have begun", async () => {
  const { port, listener, accepted } = await listening(ca!.issue(LISTENER));
  const carrier = net.connect(port, HERE);
  await once(carrier, "connect");
  // its accept is not yet seen here: drain() sees it
  const drained = listener.drain().then(() => accepted.length);
  await new Promise((resolve) => setTimeout(resolve, ACCEPT_MS));
  const options = { servername: "", ca: fs.readFileSync(ca!.cert), host: HERE };
  const client = tls.connect({ ...options, socket: carrier });
  await once(client, "secureConnect");
  assertEquals(await drained, 1);
  client.destroy();
  accepted[0]!.destroy();
  listener.close();
});

tlsTest("a handshake ends with the caller's signal, or its listener", async () => {
  const silent = net.createServer((socket) => socket.on("error", () => {}).resume());
  silent.listen(0, HERE);
  await once(silent, "listening");
  const { port } = silent.address() as net.AddressInfo;
  const controller = new AbortController();
  const connecting = assertRejects(
    () => connect(port, {}, {}, controller.signal),
    Error,
    "no more",
  );
  await once(silent, "connection");
  controller.abort(new Error("no more"));
  await connecting;
  silent.close();

  const { port: own, listener, failed } = await listening(ca!.issue(LISTENER));
  const carrier = net.connect(own, HERE).on("error", () => {}).resume();
  await once(carrier, "connect");
  await new Promise((resolve) => setTimeout(resolve, ACCEPT_MS));
  listener.close();
  await once(carrier, "close");
  assertEquals(failed, []);
});

tlsTest("a handshake takes no longer than its time, on either side", async () => {
  const silent = net.createServer((socket) => socket.on("error", () => {}).resume());
  silent.listen(0, HERE);
  await once(silent, "listening");
  const { port, listener, failed, settled } = await listening(ca!.issue(LISTENER));
  const carrier = net.connect(port, HERE).on("error", () => {}).resume();
  const late = new RegExp(`longer than ${HANDSHAKE_MS / 1000} s`);
  const { port: silentPort } = silent.address() as net.AddressInfo;
  const error = await assertRejects(() => connect(silentPort), HandshakeError);
  assertMatch(error.message, late);
  await settled(1);
  assertMatch(failed[0]!.message, late);
  carrier.destroy();
  silent.close();
  listener.close();
});
