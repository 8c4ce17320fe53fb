/** Bugs planted in a copy of the source: the fuzzer finds each, and none in the source itself. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { assertEquals, assertMatch } from "@std/assert";
import { root } from "../_tools.ts";
import { feed } from "./_loop.ts";
import { targetNamed } from "./_targets.ts";

interface Plant {
  /** What is missing then. */
  name: string;
  file: string;
  /** The source's words, which must be there once, and what comes in their place. */
  edit: [from: string, to: string];
  /**
   * Who finds it, with which seed, in how many inputs. The seed is one that finds it early, which
   * makes the test short; where the fuzzer makes other inputs, look for another.
   */
  target: string;
  seed: number;
  iterations: number;
}

const HEADER = "src/protocol/ram_packet_header.ts";

const PLANTS: Plant[] = [
  {
    name: "a length check: pages_alloc is believed",
    file: HEADER,
    edit: ["if (pagesAlloc > this.#capacity) {", "if (pagesAlloc < 0) {"],
    target: "ram-packet",
    seed: 1,
    iterations: 300,
  },
  {
    name: "an off-by-one in the bound of a page",
    file: "src/protocol/page_offsets.ts",
    edit: ["|| offset > last) return i;", "|| offset > usedLength) return i;"],
    target: "migrations",
    seed: 36,
    iterations: 12,
  },
  {
    name: "a block that nobody announced",
    file: HEADER,
    edit: ["if (block === undefined) {", "if (name === undefined) {"],
    target: "migrations",
    seed: 30,
    iterations: 12,
  },
  {
    name: "the size of what was decoded",
    file: "src/engines/builtin/inflate.ts",
    edit: ["if (info.buffer.length !== out.length) {", "if (info.buffer.length > out.length) {"],
    target: "payload-zlib",
    seed: 1,
    iterations: 60,
  },
  {
    name: "that a channel starts with a SYNC",
    file: "src/channels/receiving_channel.ts",
    edit: ["if (this.counters.syncs === 0 && (flags & FLAG_SYNC) === 0) {", "if (false) {"],
    target: "migrations",
    seed: 19,
    iterations: 12,
  },
];

let copy = "";

function fuzz({ target, seed, iterations }: Plant): { status: number | null; said: string } {
  const script = path.join(copy, "tests", "fuzz", "run.ts");
  const { status, stdout, stderr } = spawnSync(process.execPath, [
    ...["run", "-A", "--no-check", "--no-lock", script, "--inline", "--only", target],
    ...["--seed", `${seed}`, "--iterations", `${iterations}`],
  ], { cwd: copy, encoding: "utf8" });
  return { status, said: stdout + stderr };
}

// the fuzzer is the same under every runtime: one of them shows what it finds
if ("Deno" in globalThis) {
  /** A copy of the source and of the fuzzer, in which a file can be changed. */
  before(() => {
    copy = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-planted-"));
    const isCode = (file: string): boolean =>
      !file.includes("testdata") && !file.includes("vendor");
    for (const part of ["src", "ffi", "tests", "deno.json", "tsconfig.json"]) {
      fs.cpSync(path.join(root, part), path.join(copy, part), { recursive: true, filter: isCode });
    }
    for (const part of ["tests/testdata", "native-shim"]) {
      fs.symlinkSync(path.join(root, part), path.join(copy, part));
    }
  });

  after(() => fs.rmSync(copy, { recursive: true }));

  for (const plant of PLANTS) {
    test(`the fuzzer finds a check that is missing: ${plant.name}`, { timeout: 60_000 }, () => {
      const file = path.join(copy, plant.file);
      const source = fs.readFileSync(file, "utf8");
      const [from, to] = plant.edit;
      assertEquals(source.split(from).length, 2, `${plant.file} has "${from}" once`);
      try {
        fs.writeFileSync(file, source.replace(from, to));
        const { status, said } = fuzz(plant);
        assertMatch(said, new RegExp(`FAILED ${plant.target}: seed ${plant.seed}, iteration \\d+`));
        assertEquals(status, 1);
      } finally {
        fs.writeFileSync(file, source);
      }
    });

    test(`and finds nothing where it is: ${plant.name}`, { timeout: 60_000 }, async () => {
      const { target, seed, iterations } = plant;
      const tally = { taken: 0, refused: 0 };
      const goesOn = (iteration: number): boolean => iteration < iterations;
      assertEquals(await feed(targetNamed(target), tally, { seed, from: 0, goesOn }), iterations);
    });
  }
}
