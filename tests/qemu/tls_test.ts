/** TLS as QEMU's own tests of migration have it, with us at one end. */
import process from "node:process";
import { test } from "node:test";
import { assertEquals, assertMatch } from "@std/assert";
import { Authority, type Identity, NO_OPENSSL } from "../_certificates.ts";
import type { Runtime } from "../cli/_command.ts";
import { type Version, VERSIONS } from "./fetch.ts";
import { countRounds } from "./_guest.ts";
import { imageHash, type Lab, qemuTest, sendArgs } from "./_lab.ts";
import type { Qemu, QemuOptions } from "./_qemu.ts";
import { within } from "./_wait.ts";

const HERE = ["IP:127.0.0.1"];
const ELSEWHERE = ["DNS:elsewhere.example"];
const ELSEWHERE_NAME = "elsewhere.example";

/** QEMU's side of TLS: the object with its credentials, and the parameters that use it. */
interface QemuTls {
  args: string[];
  parameters: Record<string, string>;
}

function qemuTls(
  authority: Authority,
  identity: Identity | undefined,
  endpoint: "client" | "server",
  { hostname, verifyPeer = true }: { hostname?: string; verifyPeer?: boolean } = {},
): QemuTls {
  const where = `endpoint=${endpoint},dir=${authority.qemuFolder(identity)}`;
  // without the sanity check it shows a certificate that it would not take itself
  const checks = `verify-peer=${verifyPeer ? "on" : "off"},sanity-check=off`;
  return {
    args: ["-object", `tls-creds-x509,id=tls0,${where},${checks}`],
    parameters: { "tls-creds": "tls0", ...(hostname && { "tls-hostname": hostname }) },
  };
}

const plain: QemuTls = { args: [], parameters: {} };

/** Our side of TLS: whom we believe, what we show. */
function ourTls(authority: Authority | undefined, identity?: Identity): string[] {
  const ca = authority && ["--tls-ca", authority.cert];
  const own = identity && ["--tls-cert", identity.cert, "--tls-key", identity.key];
  return [...ca ?? [], ...own ?? []];
}

function tlsTest(
  version: Version,
  name: string,
  run: (lab: Lab, authority: Authority) => Promise<void>,
): void {
  const title = `TLS, ${name}`;
  if (NO_OPENSSL) test(`QEMU ${version}: ${title}`, { skip: NO_OPENSSL }, () => {});
  else qemuTest(version, title, (lab) => run(lab, new Authority(lab.path("ca"))));
}

/** QEMU's guest comes to us, and is what it was. */
async function saveAndCompare(
  lab: Lab,
  version: Version,
  { args, parameters }: QemuTls,
  ours: string[],
  runtime: Runtime,
): Promise<void> {
  const source = await lab.running({ version, args });
  await source.execute("stop");
  const memory = await source.memoryHash(lab.path("memory"));
  await lab.save(source, "vm", runtime, { parameters, args: ours });
  assertEquals(imageHash(lab.path("vm")), memory);
}

/** A QEMU that cannot send to us goes on, and so do we; what we say of it. */
async function saveInVain(
  lab: Lab,
  version: Version,
  { args, parameters }: QemuTls,
  ours: string[],
): Promise<string> {
  const source = await lab.running({ version, args });
  const receiver = await lab.recv("bun", "--out", lab.path("vm"), ...ours);
  await source.configure({ parameters });
  await source.migrate(receiver.uri);
  assertEquals(await source.migrated(), "failed");
  await source.guestGoesOn();
  const told = receiver.running.line(/((?:TLS handshake|Peer) .*), ignored/);
  const failure = await within("recv tells of it", told);
  process.kill(receiver.running.child.pid!, "SIGTERM");
  const { code, stderr } = await receiver.running.outcome;
  assertEquals(code, 1, stderr);
  assertEquals(lab.files("vm"), []);
  return failure!;
}

/** Makes a directory `vm` of a guest. */
async function image(lab: Lab, qemuOptions: QemuOptions): Promise<Qemu> {
  const source = await lab.running(qemuOptions);
  await lab.save(source, "vm", "bun", {});
  return source;
}

/** A VM comes from us to a QEMU, and counts on. */
async function restoreAndGoOn(
  lab: Lab,
  version: Version,
  { args, parameters }: QemuTls,
  ours: string[],
  runtime: Runtime,
): Promise<void> {
  const source = await image(lab, { version });
  const options = { method: "zstd", channels: 4, parameters, args: ours };
  const target = await lab.restore("vm", runtime, { version, args }, options);
  await target.guestGoesOn();
  countRounds(source.console + target.console);
}

/** A VM that cannot be sent to a QEMU; what send says. */
async function restoreInVain(
  lab: Lab,
  version: Version,
  { args, parameters }: QemuTls,
  ours: string[],
): Promise<string> {
  await image(lab, { version });
  const { address } = await lab.incoming({ version, args }, { parameters });
  const send = lab.send("vm", "deno", address, sendArgs(version, { args: ours }));
  const { code, stderr } = await within("send ends", send.outcome);
  assertEquals(code, 3, stderr);
  return stderr;
}

for (const version of VERSIONS) {
  tlsTest(version, "a guest that runs comes and goes, all show certificates", async (lab, ca) => {
    const client = qemuTls(ca, ca.issue({}), "client");
    const server = qemuTls(ca, ca.issue({ hosts: HERE }), "server");
    const source = await lab.running({ version, args: client.args });
    const wire = { method: "zstd", channels: 4 };
    await lab.save(source, "vm", "bun", {
      ...wire,
      parameters: client.parameters,
      args: [...ourTls(ca, ca.issue({ hosts: HERE })), "--tls-verify-peer"],
    });
    const target = await lab.restore("vm", "deno", { version, args: server.args }, {
      ...wire,
      parameters: server.parameters,
      args: ourTls(ca, ca.issue({})),
    });
    await target.guestGoesOn();
    countRounds(source.console + target.console);
  });

  tlsTest(version, "QEMU is told the name in our certificate", async (lab, ca) => {
    const qemu = qemuTls(ca, ca.issue({}), "client", { hostname: ELSEWHERE_NAME });
    await saveAndCompare(
      lab,
      version,
      qemu,
      ourTls(undefined, ca.issue({ hosts: ELSEWHERE })),
      "deno",
    );
  });

  tlsTest(version, "we are told the name in QEMU's certificate", async (lab, ca) => {
    const qemu = qemuTls(ca, ca.issue({ hosts: ELSEWHERE }), "server");
    const ours = [...ourTls(ca, ca.issue({})), "--tls-hostname", ELSEWHERE_NAME];
    await restoreAndGoOn(lab, version, qemu, ours, "bun");
  });

  tlsTest(version, "QEMU refuses us by our name", async (lab, ca) => {
    const qemu = qemuTls(ca, ca.issue({}), "client");
    const ours = ourTls(undefined, ca.issue({ hosts: ELSEWHERE }));
    const failure = await saveInVain(lab, version, qemu, ours);
    // QEMU looks at our certificate when in TLS 1.3 the handshake is over for us
    assertMatch(failure, /may not trust our certificate|Peer of .* said nothing|Peer dropped/);
  });

  tlsTest(version, "we refuse QEMU by its name", async (lab, ca) => {
    const qemu = qemuTls(ca, ca.issue({ hosts: ELSEWHERE }), "server");
    const said = await restoreInVain(lab, version, qemu, ourTls(ca, ca.issue({})));
    assertMatch(said, /another host.*expected 127\.0\.0\.1, received DNS:elsewhere\.example/);
  });

  tlsTest(version, "a QEMU without a certificate is taken", async (lab, ca) => {
    const qemu = qemuTls(ca, undefined, "client");
    await saveAndCompare(lab, version, qemu, ourTls(undefined, ca.issue({ hosts: HERE })), "bun");
  });

  tlsTest(version, "a QEMU without a certificate is refused", async (lab, ca) => {
    const qemu = qemuTls(ca, undefined, "client");
    const ours = [...ourTls(ca, ca.issue({ hosts: HERE })), "--tls-verify-peer"];
    assertMatch(await saveInVain(lab, version, qemu, ours), /peer sent no certificate/);
  });

  tlsTest(version, "we without a certificate are taken", async (lab, ca) => {
    const qemu = qemuTls(ca, ca.issue({ hosts: HERE }), "server", { verifyPeer: false });
    await restoreAndGoOn(lab, version, qemu, ourTls(ca), "deno");
  });

  tlsTest(version, "we without a certificate are refused", async (lab, ca) => {
    const qemu = qemuTls(ca, ca.issue({ hosts: HERE }), "server");
    const said = await restoreInVain(lab, version, qemu, ourTls(ca));
    assertMatch(said, /demands a certificate|may not take our certificate/);
  });

  tlsTest(version, "a QEMU of another CA is refused", async (lab, ca) => {
    const qemu = qemuTls(ca, new Authority(lab.path("other")).issue({}), "client");
    const ours = [...ourTls(ca, ca.issue({ hosts: HERE })), "--tls-verify-peer"];
    assertMatch(await saveInVain(lab, version, qemu, ours), /not signed by the CA/);
  });

  tlsTest(version, "a QEMU without TLS is refused", async (lab, ca) => {
    const ours = ourTls(undefined, ca.issue({ hosts: HERE }));
    assertMatch(await saveInVain(lab, version, plain, ours), /does not speak TLS/);
  });

  tlsTest(version, "we without TLS are refused", async (lab, ca) => {
    const qemu = qemuTls(ca, ca.issue({ hosts: HERE }), "server");
    const said = await restoreInVain(lab, version, qemu, []);
    assertMatch(said, /Destination speaks TLS only|closed the main channel|Peer dropped/);
  });

  tlsTest(version, "a QEMU without TLS is not sent to", async (lab, ca) => {
    const said = await restoreInVain(lab, version, plain, ourTls(ca));
    assertMatch(said, /does (it|the peer) speak TLS\?/);
  });
}
