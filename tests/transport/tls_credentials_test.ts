/** What is said of certificates and keys before anyone is connected to. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { assertEquals, assertThrows } from "@std/assert";
import { CredentialsError, OptionError } from "../../mod.ts";
import { loadClientTls, loadServerTls } from "../../src/transport/tls_credentials.ts";
import { ca, directory, LISTENER, tlsTest } from "./_tls.ts";

const ADDRESS = { host: "127.0.0.1", port: 1 };

function write(name: string, text: string): string {
  const file = path.join(directory, name);
  fs.writeFileSync(file, text);
  return file;
}

tlsTest("loadClientTls() needs the CA and a name, the address's host at least", () => {
  const trusting = { ca: ca!.cert };
  assertEquals(loadClientTls(trusting, ADDRESS).hostname, "127.0.0.1");
  assertEquals(loadClientTls({ ...trusting, hostname: "a" }, ADDRESS).hostname, "a");
  assertEquals(loadClientTls({ ...trusting, hostname: "a" }, { path: "b" }).hostname, "a");
  assertThrows(() => loadClientTls(trusting, { path: "b" }), OptionError, "--tls-hostname");
  assertThrows(() => loadClientTls({ hostname: "a" }, ADDRESS), OptionError, "--tls-ca");
  const verifyPeer = { ...trusting, verifyPeer: true };
  assertThrows(() => loadClientTls(verifyPeer, ADDRESS), OptionError, "for a listener");
});

tlsTest("loadServerTls() needs a certificate with its key, and a CA only to verify", () => {
  const own = ca!.issue(LISTENER);
  assertEquals(loadServerTls(own).ca, undefined);
  assertEquals(
    loadServerTls({ ...own, ca: ca!.cert, verifyPeer: true }).ca,
    fs.readFileSync(ca!.cert, "utf8"),
  );
  assertThrows(() => loadServerTls({}), OptionError, "--tls-cert");
  assertThrows(() => loadServerTls({ cert: own.cert }), OptionError, "go together");
  assertThrows(() => loadServerTls({ key: own.key }), OptionError, "go together");
  assertThrows(() => loadServerTls({ ...own, ca: ca!.cert }), OptionError, "takes both");
  assertThrows(() => loadServerTls({ ...own, verifyPeer: true }), OptionError, "takes both");
  assertThrows(() => loadServerTls({ ...own, hostname: "a" }), OptionError, "for a sender");
});

tlsTest("a certificate is refused where its file is missing or holds none", () => {
  const { key, cert } = ca!.issue(LISTENER);
  const load = (cert: string) => () => loadServerTls({ cert, key });
  const cases: [file: string, says: string][] = [
    [path.join(directory, "nowhere"), "ENOENT"],
    [write("plain.pem", "hello"), "no PEM certificate"],
    [key, "no PEM certificate"],
    [
      write("damaged.pem", fs.readFileSync(cert, "utf8").replace("-----\nMI", "-----\nAA")),
      "cannot be read",
    ],
  ];
  for (const [file, says] of cases) assertThrows(load(file), CredentialsError, says);
  assertThrows(() => loadClientTls({ ca: key }, ADDRESS), CredentialsError, "no PEM certificate");
});

tlsTest("a key is refused where it is another's, none, or has a passphrase", () => {
  const { cert, key } = ca!.issue(LISTENER);
  const locked = path.join(directory, "locked.pem");
  spawnSync("openssl", ["pkey", "-in", key, "-aes128", "-passout", "pass:x", "-out", locked]);
  const cases: [file: string, says: string][] = [
    [ca!.issue(LISTENER).key, "not the one of certificate"],
    [cert, "no PEM private key"],
    [locked, "without a passphrase"],
  ];
  for (const [key, says] of cases) {
    assertThrows(() => loadServerTls({ cert, key }), CredentialsError, says);
  }
});

tlsTest("a certificate is refused once it has expired", () => {
  const own = ca!.issue({ ...LISTENER, isExpired: true });
  assertThrows(() => loadServerTls(own), CredentialsError, "has expired");
  assertThrows(() => loadClientTls({ ca: own.cert }, ADDRESS), CredentialsError, "has expired");
  const bundle = write("bundle.pem", [own.cert, ca!.cert].map((f) => fs.readFileSync(f)).join(""));
  assertEquals(loadClientTls({ ca: bundle }, ADDRESS).ca, fs.readFileSync(bundle, "utf8"));
});
