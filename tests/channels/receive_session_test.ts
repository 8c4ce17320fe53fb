import { test } from "node:test";
import { assertEquals, assertThrows } from "@std/assert";
import { ReceiveSession } from "../../src/channels/receive_session.ts";
import { EngineUnavailableError } from "../../src/errors.ts";
import { methodByName } from "../../src/methods/registry.ts";

test("ReceiveSession.agreed is for who only looks: a method that no engine does is none", () => {
  const session = new ReceiveSession({ engine: "zstd" });
  assertEquals(session.agreed, undefined);
  const { flag } = methodByName("zlib")!;
  assertThrows(() => session.methodOf(flag), EngineUnavailableError);
  assertEquals(session.agreed, undefined);
});

test("ReceiveSession.agreed is the method that came first, and its engine", () => {
  const session = new ReceiveSession({ engine: "builtin" });
  session.methodOf(methodByName("zlib")!.flag);
  assertEquals([session.agreed?.method.name, session.agreed?.engine?.name], ["zlib", "builtin"]);
});
