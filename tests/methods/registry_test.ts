import { test } from "node:test";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { engineNames, selectEngine } from "../../src/engines/select.ts";
import { EngineUnavailableError } from "../../src/errors.ts";
import type { CodecFormat } from "../../src/engines/engine.ts";
import type { Method } from "../../src/methods/method.ts";
import {
  methodByFlag,
  methodByName,
  methodNames,
  registerMethod,
} from "../../src/methods/registry.ts";

const NAMES = ["none", "zlib", "zstd", "qpl", "uadk", "qatzip"];

test("methodNames() lists QEMU's six methods first", () => {
  assertEquals(methodNames().slice(0, 6), NAMES);
});

for (
  const [name, flag, levels] of [
    ["none", 0x00, undefined],
    ["zlib", 0x02, { min: 0, default: 1, max: 9 }],
    ["zstd", 0x04, { min: 0, default: 1, max: 20 }],
    ["qpl", 0x08, undefined],
    ["uadk", 0x10, undefined],
    ["qatzip", 0x20, { min: 1, default: 1, max: 9 }],
  ] as const
) {
  test(`${name} has QEMU's flag and levels`, () => {
    const method = methodByName(name)!;
    assertEquals([method.name, method.flag, method.levels], [name, flag, levels]);
    assertEquals(methodByFlag(flag), method);
  });

  test(`methodByFlag() finds ${name} whatever the other bits are`, () => {
    for (const others of [0x01, 0x40, 0x8000_0000, 0xffff_ffc1]) {
      assertEquals(methodByFlag((flag | others) >>> 0)?.name, name);
    }
  });
}

test("methodByFlag() and methodByName() know nothing else", () => {
  for (const flag of [0x06, 0x0a, 0x22, 0x30]) assertEquals(methodByFlag(flag), undefined);
  for (const name of ["", "ZLIB", "lz4", "constructor"]) {
    assertEquals(methodByName(name), undefined);
  }
});

test("registerMethod() makes a method known by name and flag", () => {
  const method: Method = { ...methodByName("none")!, name: "test-registered", flag: 0x0c };
  registerMethod(method);
  assert(methodByName("test-registered") === method);
  assert(methodByFlag(0x0c | 0x01) === method);
  assert(methodNames().includes("test-registered"));
});

for (
  const [what, name, flag, message] of [
    ["a name that is taken", "zstd", 0x3c, "the name is taken"],
    ["a flag that is taken", "other", 0x04, "its flag is zstd's"],
    ["the flag of none", "other", 0x00, "its flag is none's"],
    ["the SYNC bit", "other", 0x3d, "no method's"],
    ["the device-state bit", "other", 0x40, "no method's"],
  ] as const
) {
  test(`registerMethod() refuses ${what}`, () => {
    const method = { ...methodByName("none")!, name, flag };
    assertThrows(() => registerMethod(method), TypeError, message);
    assertEquals(methodByName("other"), undefined);
  });
}

test("selectEngine() gives builtin when asked for it by name, and no engine for none", () => {
  for (const direction of ["encodes", "decodes"] as const) {
    assertEquals(selectEngine(methodByName("none")!, direction, "builtin"), undefined);
    for (const name of NAMES.slice(1)) {
      assertEquals(selectEngine(methodByName(name)!, direction, "builtin")!.name, "builtin");
    }
  }
});

test("selectEngine() gives an engine that has the format when left the choice", () => {
  for (const direction of ["encodes", "decodes"] as const) {
    assertEquals(selectEngine(methodByName("none")!, direction), undefined);
    for (const name of NAMES.slice(1)) {
      const method = methodByName(name)!;
      for (
        const engine of [selectEngine(method, direction), selectEngine(method, direction, "auto")]
      ) {
        assert(engine![direction].includes(method.format!), `${name}: ${engine!.name}`);
        assert(engineNames().includes(engine!.name), engine!.name);
      }
    }
  }
});

test("selectEngine() refuses an engine or a format that there is not", () => {
  const zlib = methodByName("zlib")!;
  const unknown = { ...zlib, format: "lz4-stream" as CodecFormat };
  for (const direction of ["encodes", "decodes"] as const) {
    const other = () => selectEngine(zlib, direction, "none-such");
    const error = assertThrows(other, EngineUnavailableError, "none-such");
    for (const name of engineNames()) assert(error.message.includes(name));
    assertThrows(() => selectEngine(unknown, direction), EngineUnavailableError, "method zlib");
  }
});

test("an engine refuses a format it computes only the other way, per packet or per page", () => {
  const engine = selectEngine(methodByName("zlib")!, "decodes", "builtin")!;
  const options = { pageSize: 4096, level: 1 };
  for (const format of ["deflate-pages", "zlib-pages"] as const) {
    assertThrows(() => engine.packetEncoder(format, options), EngineUnavailableError, format);
    assertThrows(() => engine.packetDecoder(format, options), EngineUnavailableError, format);
  }
  for (const format of ["zlib-stream", "zstd-stream", "gzip-members"] as const) {
    assertThrows(() => engine.pageEncoder(format, options), EngineUnavailableError, format);
    assertThrows(() => engine.pageDecoder(format, options), EngineUnavailableError, format);
  }
});

test("a compressing method cannot be set up without an engine", () => {
  const context = { pageSize: 4096, engine: undefined, level: 1 };
  for (const name of NAMES.slice(1)) {
    const method = methodByName(name)!;
    assertThrows(() => method.receiveSetup(context), TypeError, `Method ${name} needs an engine`);
  }
});
