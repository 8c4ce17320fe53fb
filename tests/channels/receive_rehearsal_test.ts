/** A rehearsal receives what it made up, and leaves nothing behind. */
import fs from "node:fs";
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { rehearse } from "../../src/channels/receive_rehearsal.ts";

const PACKETS_WITH_SYNCS = 302;

const descriptors = (): number => fs.readdirSync("/proc/self/fd").length;

test("rehearse() receives every packet and closes its sockets and its file", async () => {
  // the shim is loaded once
  await rehearse();
  const before = descriptors();
  assertEquals(await rehearse(), PACKETS_WITH_SYNCS);
  assertEquals(descriptors(), before);
});
