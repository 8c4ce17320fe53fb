/** What the compiler and the linker put into the shim against an attacker, read from the objects. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { root } from "../_tools.ts";

const build = path.join(root, "native-shim", "build");
const objects = fs.existsSync(build)
  ? fs.readdirSync(build).filter((name) => name.endsWith(".so")).sort()
  : [];
/** Those that are linked to what is only in native-shim/vendor, and look for it there. */
const VENDORED = ["qatzip.so", "qpl.so"];

const skip = spawnSync("readelf", ["--version"]).error !== undefined && "readelf is missing";

function readelf(object: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync("readelf", [...args, "--wide", object], {
    cwd: build,
    encoding: "utf8",
  });
  assertEquals(status, 0, stderr);
  return stdout;
}

/** The names of an object's dynamic symbols that it defines, or that it asks others for. */
function symbols(object: string, isDefined: boolean): string[] {
  const rows = readelf(object, "--dyn-syms").matchAll(/^ *\d+: (?:\S+ +){5}(\S+) +([^\s@]+)/gm);
  return [...rows].filter(([, section]) => (section !== "UND") === isDefined).map(([, , name]) =>
    name!
  );
}

// it is C, and the same under every runtime
if ("Deno" in globalThis) {
  test("the shim was built", () => {
    for (const name of ["io.so", "zstd.so"]) assert(objects.includes(name), name);
  });

  for (const object of objects) {
    const options = { skip };

    test(`${object}: what is relocated is read-only, and at once`, options, () => {
      assertMatch(readelf(object, "--program-headers"), /^ +GNU_RELRO /m);
      assertMatch(readelf(object, "--dynamic"), /\bBIND_NOW\b/);
    });

    test(`${object}: it stays, whichever thread closes it last`, options, () => {
      assertMatch(readelf(object, "--dynamic"), /\bNODELETE\b/);
    });

    test(`${object}: nothing that can be written can be executed`, options, () => {
      const headers = readelf(object, "--program-headers");
      assertMatch(headers, /^ +GNU_STACK .* RW +0x/m);
      assertEquals(/^ +LOAD .* (RWE|WE) +0x/m.exec(headers)?.[0], undefined);
      assertEquals(/TEXTREL/.exec(readelf(object, "--dynamic"))?.[0], undefined);
    });

    test(`${object}: its functions watch their stack`, options, () => {
      assert(symbols(object, false).includes("__stack_chk_fail"));
    });

    test(`${object}: what writes text knows the room for it`, options, () => {
      assert(symbols(object, false).includes("__snprintf_chk"));
    });

    test(`${object}: it shows what codec.h or io.h names, and nothing else`, options, () => {
      const [header, mark] = object === "io.so" ? ["io.h", "IO"] : ["codec.h", "CODEC"];
      const text = fs.readFileSync(path.join(root, "native-shim", header!), "utf8");
      const named = text.matchAll(new RegExp(`^${mark}_EXPORT [^(]*?(\\w+)\\(`, "gm"));
      assertEquals(symbols(object, true).sort(), [...named].map(([, name]) => name!).sort());
    });

    test(`${object}: it is told no folder to look for libraries in`, options, () => {
      const told = /\((RPATH|RUNPATH)\).*\[(.*)\]/.exec(readelf(object, "--dynamic"))?.[2];
      const vendor = path.join(root, "native-shim", "vendor", "lib");
      assertEquals(told, VENDORED.includes(object) && told !== undefined ? vendor : undefined);
    });
  }

  const isX86 = process.arch === "x64";
  test("functions of the shim begin with a landing pad for indirect calls", {
    skip: skip || !isX86 && "only x86 has them here",
  }, () => {
    const { stdout } = spawnSync("objdump", ["--disassemble=io_abi", "io.so"], {
      cwd: build,
      encoding: "utf8",
    });
    assertMatch(stdout, /<io_abi>:\n.*\bendbr64\b/);
  });
}
