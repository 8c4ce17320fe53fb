/** TLS between two processes and two runtimes, and who may send. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { OptionError, receive } from "../../mod.ts";
import { Authority, type Identity, NO_OPENSSL } from "../_certificates.ts";
import { lastingDirectory, mixedPages } from "../migration/_migrate.ts";
import {
  here,
  moveBetween,
  onceOf,
  type Outcome,
  run,
  type Running,
  start,
  there,
} from "./_command.ts";

const directory = lastingDirectory();
const image = path.join(directory, "guest.ram");
fs.writeFileSync(image, mixedPages(500, 4096, 1));
const imageHash = createHash("sha256").update(fs.readFileSync(image)).digest("hex");
const NO_UUID = "00000000-0000-0000-0000-000000000000";

interface Files {
  ca: Authority;
  listener: Identity;
  client: Identity;
  stranger: Identity;
}

const files = NO_OPENSSL ? undefined : makeFiles();

function makeFiles(): Files {
  const ca = new Authority(path.join(directory, "ca"));
  return {
    ca,
    listener: ca.issue({ hosts: ["IP:127.0.0.1", "DNS:localhost"] }),
    client: ca.issue({}),
    stranger: new Authority(path.join(directory, "other")).issue({}),
  };
}

function tlsTest(name: string, run: (files: Files) => Promise<void>): void {
  test(name, { skip: NO_OPENSSL }, () => run(files!));
}

const show = ({ cert, key }: Identity): string[] => ["--tls-cert", cert, "--tls-key", key];
const believe = ({ cert }: Pick<Identity, "cert">): string[] => ["--tls-ca", cert];
let count = 0;
const fresh = (): string => path.join(directory, `out${count++}`);

// the other way round where the other runtime runs this
for (const isMutual of [false, true]) {
  const who = isMutual ? "both show certificates" : "the listener shows a certificate";
  tlsTest(`${here} to ${there} over TLS, ${who}`, async ({ ca, listener, client }) => {
    const { sent, received } = await moveBetween(
      here,
      [image, "--channels", "4", ...believe(ca), ...(isMutual ? show(client) : [])],
      there,
      [fresh(), "--json", ...show(listener)].concat(
        isMutual ? ["--tls-verify-peer", ...believe(ca)] : [],
      ),
    );
    assertEquals(sent.code, 0, sent.stderr);
    assertEquals(received.code, 0, received.stderr);
    const { transport, blocks } = JSON.parse(received.stdout);
    assertEquals([transport, blocks[0].sha256], ["runtime", imageHash]);
  });
}

/** Starts a receiver; where it listens. */
async function startRecv(
  ...args: string[]
): Promise<{ recv: Running; address: string; out: string }> {
  const out = fresh();
  const recv = start(there, ["recv", out, ...args]);
  const address = await recv.line(/^listening on (.*)$/);
  if (address === undefined) throw new Error((await recv.outcome).stderr);
  return { recv, address, out };
}

const send = (address: string, ...args: string[]): Promise<Outcome> =>
  run(here, ["send", image, "--to", address, "--timeout", "20", ...args]);

tlsTest("recv outlives every send that TLS refuses, and takes the one that it takes", async (f) => {
  const { ca, listener, client, stranger } = f;
  const { recv, address } = await startRecv(...show(listener), "--tls-verify-peer", ...believe(ca));
  const refused: [args: string[], code: number, says: RegExp][] = [
    [believe(ca), 3, /demands a certificate|may not take our certificate/],
    [[...believe(ca), ...show(stranger)], 3, /may not take our certificate/],
    [[...believe(stranger), ...show(client)], 3, /not signed by the CA/],
    [
      [...believe(ca), ...show(client), "--tls-hostname", "elsewhere.example"],
      3,
      /another host.*expected elsewhere\.example, received IP Address:127\.0\.0\.1/,
    ],
    // a reset may overtake the destination's alert, which tells
    [[], 3, /Destination speaks TLS only \(see --tls-ca\)|Peer dropped main channel/],
  ];
  for (const [args, code, says] of refused) {
    const outcome = await send(address, ...args);
    assertEquals(outcome.code, code, outcome.stderr);
    assertMatch(outcome.stderr, says);
  }
  const sent = await send(address, ...believe(ca), ...show(client));
  assertEquals(sent.code, 0, sent.stderr);
  const { code, stderr } = await recv.outcome;
  assertEquals(code, 0, stderr);
  for (const reason of ["sent no certificate", "not signed by the CA", "does not speak TLS"]) {
    assertStringIncludes(stderr, reason);
  }
});

tlsTest(
  "send with TLS to a recv without ends, both say why, and the next is taken",
  async ({ ca }) => {
    const { recv, address } = await startRecv();
    const sent = await send(address, ...believe(ca));
    assertEquals(sent.code, 3, sent.stderr);
    assertStringIncludes(sent.stderr, "does it speak TLS?");
    assertEquals((await send(address)).code, 0);
    const { code, stderr } = await recv.outcome;
    assertEquals(code, 0, stderr);
    assertStringIncludes(stderr, "speaks TLS (see --tls-cert), ignored");
  },
);

tlsTest("over a unix socket the listener's name is told", async ({ ca, listener }) => {
  const address = `unix:${path.join(directory, "recv.sock")}`;
  const { recv } = await startRecv("--listen", address, ...show(listener));
  const nameless = await send(address, ...believe(ca));
  assertEquals(nameless.code, 2);
  assertStringIncludes(nameless.stderr, "--tls-hostname");
  const sent = await send(address, ...believe(ca), "--tls-hostname", "localhost");
  assertEquals([sent.code, (await recv.outcome).code], [0, 0], sent.stderr);
});

tlsTest("what cannot be is said before anyone listens or connects", async (files) => {
  const { ca, listener, client } = files;
  const expired = ca.issue({ hosts: ["IP:127.0.0.1"], isExpired: true });
  const mixed = { cert: listener.cert, key: client.key };
  const cases: [verb: "send" | "recv", args: string[], code: number, says: RegExp][] = [
    ["recv", show(expired), 1, /has expired/],
    ["recv", show(mixed), 1, /not the one of certificate/],
    ["recv", show({ cert: "nowhere", key: client.key }), 1, /Cannot read nowhere \(ENOENT\)/],
    ["recv", [...show(listener), "--tls-verify-peer"], 2, /takes both/],
    ["recv", [...show(listener), ...believe(ca)], 2, /takes both/],
    ["recv", ["--tls-verify-peer", ...believe(ca)], 2, /--tls-cert/],
    ["recv", [...show(listener), "--transport", "native"], 1, /Cannot use the native.*TLS/],
    ["send", show(client), 2, /--tls-ca/],
    ["send", [...believe(ca), "--tls-cert", client.cert], 2, /go together/],
    ["send", [...believe(ca), "--transport", "native"], 1, /Cannot use the native.*TLS/],
  ];
  for (const [verb, args, code, says] of onceOf(cases)) {
    const first = verb === "send" ? [image, "--to", "127.0.0.1:1"] : [fresh()];
    const outcome = await run(here, [verb, ...first, ...args]);
    assertEquals(outcome.code, code, outcome.stderr);
    assertMatch(outcome.stderr, says);
  }
});

test("recv warns once where it listens beyond this machine without TLS", async () => {
  const warnings = async (...args: string[]): Promise<number> => {
    const { recv, address } = await startRecv(...args);
    await send(
      address.replace("0.0.0.0", "127.0.0.1"),
      ...(args.length > 2 ? believe(files!.ca) : []),
    );
    const { code, stderr } = await recv.outcome;
    assertEquals(code, 0, stderr);
    return stderr.split("\n").filter((line) => line.includes("without TLS")).length;
  };
  assertEquals(await warnings("--listen", "0.0.0.0:0"), 1);
  assertEquals(await warnings("--listen", "127.0.0.1:0"), 0);
  if (files) assertEquals(await warnings("--listen", "0.0.0.0:0", ...show(files.listener)), 0);
});

test("recv --uuid takes that guest and no other", async () => {
  const uuid = "4d554c54-4946-4421-8000-000000000001";
  for (const transport of ["runtime", "native"]) {
    const { recv, address, out } = await startRecv("--uuid", uuid, "--transport", transport);
    assertNotEquals((await send(address)).code, 0);
    const { code, stderr } = await recv.outcome;
    assertEquals(code, 3, stderr);
    assertMatch(stderr, new RegExp(`not the one to take: .*expected ${uuid}, received ${NO_UUID}`));
    assert(!fs.existsSync(out));
  }
  const { recv, address } = await startRecv("--uuid", NO_UUID);
  assertEquals((await send(address)).code, 0);
  assertEquals((await recv.outcome).code, 0);
  const { code, stderr } = await run(here, ["recv", fresh(), "--uuid", "x"]);
  assertEquals(code, 2);
  assertStringIncludes(stderr, "--uuid x is no uuid");
  const short = { listen: "127.0.0.1:0", into: fresh(), uuid: new Uint8Array(3) };
  await assertRejects(() => receive(short), OptionError, "expected 16, received 3");
});
