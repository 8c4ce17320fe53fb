import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import {
  CancelledError,
  type MultifdError,
  PeerClosedError,
  ProtocolError,
  QemuError,
  TimedOutError,
} from "../../mod.ts";
import { QmpClient } from "../../src/qemu/qmp.ts";
import { LineSplitter, parseQmpMessage } from "../../src/qemu/qmp_message.ts";
import { Random } from "../_random.ts";
import { GREETING, rawServer, speaksQmp } from "./_raw_server.ts";

const patience = { timeout: 10_000 };

test("QmpClient.connect() tells QEMU's version", async () => {
  await using server = await rawServer(speaksQmp(() => ""));
  for (const address of [server.socket, `unix:${server.socket}`]) {
    const qmp = await QmpClient.connect(address, patience);
    assertEquals(qmp.version, "10.0.2 (Debian)");
    qmp.close();
  }
});

test("execute() matches answers to commands by id, with events in between", async () => {
  const held: number[] = [];
  await using server = await rawServer(speaksQmp((command, id) => {
    held.push(id);
    if (command === "first") return '{"event": "STOP", "timestamp": {}}\r\n';
    const event = '{"event": "RESUME", "data": {}, "timestamp": {}}\r\n';
    return held.toReversed().map((id) => `{"return": {"is": ${id}}, "id": ${id}}\r\n${event}`)
      .join("");
  }));
  const qmp = await QmpClient.connect(server.socket, patience);
  const [first, second] = await Promise.all([qmp.query("first"), qmp.query("second")]);
  assertEquals([first.is, second.is], held);
  qmp.close();
});

test("execute() throws QEMU's own class and words", async () => {
  await using server = await rawServer(
    speaksQmp((_, id) =>
      `{"error": {"class": "CommandNotFound", "desc": "no such thing"}, "id": ${id}}\r\n`
    ),
  );
  const qmp = await QmpClient.connect(server.socket, patience);
  const error = await assertRejects(() => qmp.execute("frob"), QemuError);
  assertEquals([error.facts.code, error.facts.desc], ["CommandNotFound", "no such thing"]);
  assertMatch(error.message, /QEMU refused frob: no such thing/);
  qmp.close();
});

test("execute() gives up on a command, ignores its late answer, and goes on", async () => {
  let late = "";
  await using server = await rawServer(speaksQmp((command, id) => {
    if (command === "slow") {
      late = `{"return": "late", "id": ${id}}\r\n`;
      return "";
    }
    return `${late}{"return": "${command}", "id": ${id}}\r\n`;
  }));
  const qmp = await QmpClient.connect(server.socket, patience);
  await assertRejects(() => qmp.execute("slow", {}, { timeout: 50 }), TimedOutError, "slow");
  assertEquals(await qmp.execute("quick"), "quick");
  assertEquals(await qmp.execute("again"), "again");
  qmp.close();
});

test("execute() waits a second for a QEMU that left a command unanswered", async () => {
  await using server = await rawServer(speaksQmp(() => ""));
  const qmp = await QmpClient.connect(server.socket, { timeout: 600_000 });
  await assertRejects(() => qmp.execute("slow", {}, { timeout: 50 }), TimedOutError, "for 0.05 s");
  await assertRejects(() => qmp.execute("next"), TimedOutError, "next for 1 s");
  qmp.close();
});

test("execute() is cancelled by its signal", async () => {
  const controller = new AbortController();
  await using server = await rawServer(speaksQmp(() => {
    controller.abort(new Error("SIGINT"));
    return "";
  }));
  const qmp = await QmpClient.connect(server.socket, patience);
  const { signal } = controller;
  await assertRejects(() => qmp.execute("wait", {}, { signal }), CancelledError, "SIGINT");
  await assertRejects(() => qmp.execute("wait", {}, { signal }), CancelledError, "SIGINT");
  qmp.close();
});

test("execute() throws when QEMU closes, with the reason that an event gave", async () => {
  const shutdown = '{"event": "SHUTDOWN", "data": {"reason": "host-signal"}}\r\n';
  await using server = await rawServer((socket) => {
    speaksQmp(() => {
      socket.end(shutdown);
      return "";
    })(socket);
  });
  const qmp = await QmpClient.connect(server.socket, patience);
  const lost = await assertRejects(() => qmp.execute("query-status"), PeerClosedError);
  assertMatch(
    lost.message,
    /after SHUTDOWN \(host-signal\), waiting for its answer to query-status/,
  );
  assert(qmp.isLost);
  await assertRejects(() => qmp.execute("again"), PeerClosedError, "host-signal");
});

test("QmpClient.connect() tells of a QEMU that serves another client", async () => {
  await using server = await rawServer(() => {});
  await assertRejects(
    () => QmpClient.connect(server.socket, { timeout: 200 }),
    TimedOutError,
    "one QMP client at a time",
  );
});

test("QmpClient.connect() waits for a QEMU that is starting, and tells that it does", async () => {
  const warnings: string[] = [];
  await using server = await rawServer((socket) => {
    setTimeout(() => speaksQmp(() => "")(socket), 5500);
  });
  const warn = (message: string): number => warnings.push(message);
  const qmp = await QmpClient.connect(server.socket, { ...patience, warn });
  assertEquals(qmp.version, "10.0.2 (Debian)");
  assertEquals(warnings.length, 1);
  assertMatch(warnings[0]!, /does not greet.*is it still starting\?/);
  qmp.close();
});

test("QmpClient.connect() is cancelled by its signal", async () => {
  const controller = new AbortController();
  await using server = await rawServer(() => controller.abort());
  const { signal } = controller;
  await assertRejects(
    () => QmpClient.connect(server.socket, { ...patience, signal }),
    CancelledError,
  );
});

test("QmpClient.connect() throws where nobody listens", async () => {
  await assertRejects(() => QmpClient.connect("/nowhere/qmp.sock", patience), PeerClosedError);
  await assertRejects(() => QmpClient.connect("127.0.0.1:1", patience), PeerClosedError);
});

// deno-lint-ignore no-explicit-any
type ErrorClass = new (...args: any[]) => MultifdError;

const STRANGERS: [what: string, says: string | Uint8Array, Class: ErrorClass, message: RegExp][] = [
  ["text", "SSH-2.0-OpenSSH\x1b[2J\r\n", ProtocolError, /not speak QMP.*SSH-2.0-OpenSSH\?\[2J/],
  ["JSON that is no object", "[1]\r\n", ProtocolError, /not speak QMP/],
  ["an object of another kind", '{"hello": 1}\r\n', ProtocolError, /not speak QMP/],
  ["a line that never ends", "x".repeat(5 * 2 ** 20), ProtocolError, /too long: expected at most/],
  ["what is no UTF-8", Uint8Array.of(0xff, 0xfe, 0x0a), ProtocolError, /no UTF-8/],
  ["nothing, and closes", "", PeerClosedError, /closed its QMP connection/],
  [
    "that it understood nothing",
    `${GREETING}{"error": {"class": "GenericError", "desc": "JSON parse error"}}\r\n`,
    ProtocolError,
    /understood nothing: JSON parse error.*GenericError/,
  ],
];

for (const [what, says, Class, message] of STRANGERS) {
  test(`QmpClient.connect() rejects a peer that says ${what}`, async () => {
    await using server = await rawServer((socket) => {
      if (says === "") socket.end();
      else socket.write(says);
    });
    const error = await assertRejects(() => QmpClient.connect(server.socket, patience), Class);
    assertMatch(error.message, message);
  });
}

test("query() and queryList() reject an answer of another shape", async () => {
  await using server = await rawServer(speaksQmp((_, id) => `{"return": [1], "id": ${id}}\r\n`));
  const qmp = await QmpClient.connect(server.socket, patience);
  await assertRejects(() => qmp.query("query-status"), ProtocolError, "query-status is no object");
  await assertRejects(
    () => qmp.queryList("query-x"),
    ProtocolError,
    "query-x is no list of objects",
  );
  qmp.close();
});

test("LineSplitter gives the same lines however they are cut", () => {
  const lines = ["", '{"a": "ä€😀"}\r', "x".repeat(1000), "{}"];
  const bytes = new TextEncoder().encode(lines.map((line) => `${line}\n`).join(""));
  const random = new Random(1);
  for (let round = 0; round < 100; round++) {
    const splitter = new LineSplitter();
    const found: string[] = [];
    for (let at = 0; at < bytes.length;) {
      const end = at + 1 + random.below(round + 1);
      // the caller's buffer is used again
      const chunk = bytes.slice(at, end);
      found.push(...splitter.push(chunk));
      chunk.fill(0);
      at = end;
    }
    assertEquals(found, lines);
  }
});

test("parseQmpMessage() reads what QEMU 7.2 and 10.0 say", () => {
  assertEquals(parseQmpMessage(GREETING), { type: "greeting", version: "10.0.2 (Debian)" });
  assertEquals(parseQmpMessage('{"return": {}, "id": 3}'), { type: "return", id: 3, value: {} });
  const event =
    '{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP", "data": {"a": 1}}';
  assertEquals(parseQmpMessage(event), { type: "event", name: "STOP", data: { a: 1 } });
  assertThrows(() => parseQmpMessage("null"), ProtocolError);
});
