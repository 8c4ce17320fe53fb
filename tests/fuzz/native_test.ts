/** What `deno task fuzz:native` runs first, where clang is: a small sample, and that it finds a planted bug. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { root } from "../_tools.ts";
import { build, LIBRARIES, runFuzzer, whyNot, writeCorpus } from "./_native.ts";

const library = LIBRARIES.find(({ name }) => name === "libdeflate")!;
const TIMEOUT = 120_000;

// it is C, and the same under every runtime
if ("Deno" in globalThis) {
  const options = { skip: whyNot(library) ?? false, timeout: TIMEOUT };
  let folder = "";
  before(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-libfuzzer-"));
  });
  after(() => fs.rmSync(folder, { recursive: true }));

  const run = async (source: string | undefined, runs: number) => {
    const corpus = path.join(folder, "corpus");
    await writeCorpus(library, corpus, 1);
    return runFuzzer(build(library, folder, source), corpus, [`-runs=${runs}`, "-seed=1"], folder);
  };

  test("libFuzzer finds nothing in the decoder of pages and gzip members", options, async () => {
    const { inputs, edges, finding } = await run(undefined, 3000);
    assertEquals(finding, undefined);
    assert(inputs >= 3000 && edges > 50, `${inputs} inputs, ${edges} edges`);
  });

  test("libFuzzer finds a length that is believed", options, async () => {
    const source = fs.readFileSync(path.join(root, "native-shim", "libdeflate.c"), "utf8");
    const check = " || lengths[i] > size - at";
    assertEquals(source.split(check).length, 2);
    const planted = path.join(folder, "planted.c");
    fs.writeFileSync(planted, source.replace(check, ""));
    const { finding } = await run(planted, 100_000);
    assertMatch(finding ?? "nothing", /AddressSanitizer|UndefinedBehaviorSanitizer|deadly signal/);
  });
}
