import { test } from "node:test";
import { assertEquals, assertThrows } from "@std/assert";
import { OptionError } from "../../mod.ts";
import { type Address, formatAddress, isLocal, parseAddress } from "../../src/transport/address.ts";

const GOOD: [string, Address][] = [
  ["127.0.0.1:4444", { host: "127.0.0.1", port: 4444 }],
  ["localhost:0", { host: "localhost", port: 0 }],
  ["[::1]:65535", { host: "::1", port: 65535 }],
  ["[fe80::1%eth0]:1", { host: "fe80::1%eth0", port: 1 }],
  ["unix:/tmp/a b:c.sock", { path: "/tmp/a b:c.sock" }],
];

for (const [text, address] of GOOD) {
  test(`parseAddress() reads ${text}`, () => {
    assertEquals(parseAddress(text), address);
    assertEquals(formatAddress(address), text);
  });
}

test("parseAddress() takes QEMU's tcp: in front", () => {
  assertEquals(parseAddress("tcp:host:1"), { host: "host", port: 1 });
});

for (const text of ["", ":1", "host", "host:", "host:x", "host:65536", "::1:1", "[::1]", "unix:"]) {
  test(`parseAddress() refuses "${text}"`, () => {
    assertThrows(() => parseAddress(text), OptionError, "HOST:PORT");
  });
}

test("isLocal() knows what only this machine can reach", () => {
  const local = ["127.0.0.1:1", "127.1.2.3:1", "localhost:1", "[::1]:1", "unix:a"];
  const open = ["0.0.0.0:1", "[::]:1", "192.168.0.1:1", "host:1", "127.example.com:1"];
  assertEquals(local.filter((text) => !isLocal(parseAddress(text))), []);
  assertEquals(open.filter((text) => isLocal(parseAddress(text))), []);
});
