/** A small sample of `deno task fuzz`, and that the fuzzer's own parts do what they say. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ProtocolError } from "../../src/errors.ts";
import { withinMemory } from "./_allocations.ts";
import { CheckedImage } from "./_image.ts";
import { feed, minimise, randomOf, type Tally, tryInput } from "./_loop.ts";
import { loadInput, only, saveInput, type Target } from "./_target.ts";
import { targetNamed, TARGETS } from "./_targets.ts";

const SEED = 1;
/** Inputs of a target; what takes longer has fewer. */
const INPUTS = 200;
const FEWER: Record<string, number> = {
  "mapped-ram": 8,
  "zstd-frames": 60,
  "main-channel": 60,
  "vm-tail": 60,
  migrations: 40,
  recordings: 8,
};

for (const target of TARGETS) {
  const inputs = FEWER[target.name] ?? (target.name.startsWith("payload-") ? 10 : INPUTS);
  test(`fuzz: ${target.name} takes or refuses, and nothing else`, async () => {
    const tally: Tally = { taken: 0, refused: 0 };
    const result = await feed(target, tally, {
      seed: SEED,
      from: 0,
      goesOn: (iteration) => iteration < inputs,
    });
    if (typeof result !== "number") {
      const { iteration, error } = result;
      throw new Error(`--seed ${SEED}, iteration ${iteration}: ${error}`, { cause: error });
    }
    assert(tally.taken > 0 && tally.refused > 0, JSON.stringify(tally));
  });
}

test("fuzz: a seed and an iteration alone decide an input", async () => {
  for (const target of TARGETS) {
    const [first, again] = [
      await target.generate(randomOf(7, 3)),
      await target.generate(randomOf(7, 3)),
    ];
    assertEquals(again, first, target.name);
  }
});

test("fuzz: a finding is made smaller, kept in a file, and read from it again", async () => {
  const target: Target = {
    name: "toy",
    generate: (random) => only(random.bytes(200).fill(0x21, 77, 78)),
    run({ parts }) {
      if (parts.bytes!.includes(0x21)) throw new TypeError("there is a 0x21");
    },
  };
  const goesOn = (iteration: number): boolean => iteration < 1;
  const failure = await feed(target, { taken: 0, refused: 0 }, { seed: 1, from: 0, goesOn });
  assert(typeof failure === "object");
  const smallest = await minimise(failure);
  assertEquals(smallest.parts.bytes, Uint8Array.of(0x21));
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-fuzz-"));
  const file = path.join(folder, "toy.gz");
  saveInput(file, "toy", smallest);
  assertEquals(loadInput(file), { target: "toy", input: smallest });
  fs.rmSync(folder, { recursive: true });
});

test("fuzz: a raw error is a finding, a refusal is none", async () => {
  const throwing = (error: Error): Target => ({
    name: "toy",
    generate: () => only(new Uint8Array(1)),
    run: () => Promise.reject(error),
  });
  const input = only(new Uint8Array(1));
  assertEquals(await tryInput(throwing(new ProtocolError("no")), input), false);
  await assertRejects(() => tryInput(throwing(new RangeError("oh")), input), RangeError);
});

test("fuzz: a length that is believed is found where it asks for memory", async () => {
  const ask = (size: number) => withinMemory(1000, () => new Uint8Array(size).length);
  assertEquals(await ask(1000), 1000);
  await assertRejects(() => ask(1001), Error, "it allocates 1001 bytes");
  await assertRejects(() => withinMemory(1000, () => new Float64Array(126)), Error, "allocates");
  assertEquals(new Uint8Array(2000).length, 2000);
});

test("fuzz: an image takes no write outside of its blocks", () => {
  const page = new Uint8Array(4096);
  const image = new CheckedImage(8192);
  image.create([{ name: "pc.ram", usedLength: 8192 }], 4096);
  image.write(0, Float64Array.of(4096), page);
  for (const [block, offset] of [[1, 0], [0, 8192], [0, 1], [0, -4096]] as const) {
    let isCaught = false;
    try {
      image.write(block, Float64Array.of(offset), page);
    } catch {
      isCaught = true;
    }
    assert(isCaught, `block ${block}, offset ${offset}`);
  }
  assert(image.wrong !== undefined);
});

const findings = new URL("../testdata/regressions/", import.meta.url);

for (const file of fs.readdirSync(findings).filter((name) => name.endsWith(".gz"))) {
  test(`fuzz: ${path.basename(file, ".gz")} stays fixed`, async () => {
    const { target, input } = loadInput(new URL(file, findings).pathname);
    await tryInput(targetNamed(target), input);
  });
}
