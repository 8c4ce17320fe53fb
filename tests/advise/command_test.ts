import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { here, onceOf, run } from "../cli/_command.ts";
import { mixedPages, temporaryDirectory } from "../migration/_migrate.ts";

const PAGES = 600;
/** What migrations cost here takes many to measure: one runtime does. */
const isMeasured = here === "bun";

async function withImage(run: (directory: string, image: string) => Promise<void>): Promise<void> {
  const directory = temporaryDirectory();
  try {
    const image = path.join(directory, "guest.ram");
    fs.writeFileSync(image, mixedPages(PAGES, 4096, 9));
    await run(directory, image);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

test("multifd advise --json has what was measured, the plans and the settings", async () => {
  await withImage(async (directory, image) => {
    const report = path.join(directory, "advice.html");
    const options = ["--method", "zstd,qpl", "--ram", "32G", "--link", "25G", "--cores", "4,8"];
    const args = isMeasured ? options : [...options, "--quick"];
    const { code, stdout, stderr } = await run(
      here,
      ["advise", image, ...args, "--report", report, "--json", "--quiet"],
    );
    assertEquals([code, stderr], [0, ""]);
    const advice = JSON.parse(stdout);
    assertEquals(advice.status, "completed");
    assertEquals(advice.source["sampled-pages"], PAGES);
    assertEquals(advice.scenario.ram, 32 * 2 ** 30);
    assertEquals(advice.scenario["destination-cores"], 8);
    assertEquals(advice.notes.length, isMeasured ? 0 : 1);
    assertEquals(advice["pipe-costs-in-seconds"].origin, isMeasured ? "measured" : "typical");
    const costs = advice["pipe-costs-in-seconds"];
    assert(costs.send["per-page"] > 0 && costs.receive["per-data-page"] > 0);
    const [best] = advice.plans;
    for (
      const name of [
        ...["total-time", "mbps", "pages-per-second", "send-cpu-percent", "receive-cpu-percent"],
        ...["transferred", "bottleneck", "channels", "dirty-sync-count"],
      ]
    ) {
      assert(best[name] !== undefined && best[name] !== null, `${name} is missing`);
    }
    assertEquals(
      advice.settings.qmp[1].arguments["multifd-compression"],
      best.method,
    );
    assertStringIncludes(fs.readFileSync(report, "utf8"), advice.recommendation.slice(0, 20));
  });
});

test("multifd advise on a directory prints tables, the sentence and what to paste", async () => {
  await withImage(async (directory) => {
    const args = ["--quick", "--level", "1", "--link", "1G", "--device", "iaa=2,qat=1@5"];
    const { code, stdout } = await run(here, ["advise", directory, ...args]);
    assertEquals(code, 0);
    assertMatch(stdout, /^600 pages sampled of 2\.3 MiB \(files\): \d+\.\d % zero/);
    assertMatch(stdout, /^method +engine +ratio +encode MB\/s/m);
    assertMatch(stdout, /^qpl on iaa +iaa /m);
    assertMatch(stdout, /^Use .* over 1 Gbit\/s, held up by the link/m);
    assertMatch(stdout, /^\{"execute":"migrate-set-parameters"/m);
    assertMatch(stdout, /^note: costs besides the codec are a typical machine's/m);
    assertMatch(stdout, /^note: iaa: 2 devices of 13\.2 GB\/s on each host, published/m);
    assertMatch(stdout, /^note: qat: 1 devices? of 5\.0 GB\/s on each host, given/m);
  });
});

test("multifd advise tells how long a running guest takes, and when it never ends", async () => {
  await withImage(async (_, image) => {
    const base = [
      "advise",
      image,
      "--quick",
      "--method",
      "zstd",
      "--ram",
      "8G",
      "--sender",
      "qemu",
    ];
    const args = [...base, "--link", "10G", "--json"];
    const slow = await run(here, [...args, "--dirty-rate", "20M"]);
    const { plans: [plan], scenario } = JSON.parse(slow.stdout);
    assertEquals(scenario.sender, "qemu");
    assertEquals(plan.converges, true);
    assert(plan.downtime > 0 && plan["dirty-sync-count"] > 1);
    const pages = ["--dirty-rate", "20000000p", "--working-set", "4G"];
    const { stdout } = await run(here, [...args, ...pages]);
    const never = JSON.parse(stdout);
    assertEquals(never.plans[0].converges, false);
    assertEquals(never.plans[0]["total-time"], null);
    assertMatch(never.recommendation, /^No method keeps up with this guest/);
  });
});

const WRONG: [args: string[], message: string][] = [
  [[], "Name one SOURCE"],
  [["a", "b"], "Argument b is one too many"],
  [["a", "--pid", "1"], "Name one SOURCE"],
  [["a", "--link", "fast"], "--link fast is no speed"],
  [["a", "--cores", "0"], "--cores 0 is no number"],
  [["a", "--dirty-rate", "much"], "--dirty-rate much is no rate"],
  [["a", "--device", "gpu=1"], "--device gpu=1 is none"],
  [["a", "--level", "high"], "--level high is no number"],
  [["a", "--level", "1,30"], "No method here has level 30"],
  [["a", "--method", "qpl,zlib", "--level", "20"], "No method here has level 20"],
  [["a", "--channels", "300"], "Number of channels is out of range"],
  [["a", "--dirty-rate", "1M", "--sender", "multifd"], "its sender is qemu"],
];

for (const [args, message] of onceOf(WRONG)) {
  test(`multifd advise ${args.join(" ")} is a usage error`, async () => {
    const { code, stderr } = await run(here, ["advise", ...args]);
    assertEquals(code, 2);
    assertStringIncludes(stderr, message);
  });
}

test("multifd advise prints its advice though it cannot write the report", async () => {
  await withImage(async (directory, image) => {
    const report = path.join(directory, "missing", "advice.html");
    const args = ["--quick", "--method", "none", "--report", report];
    const { code, stdout, stderr } = await run(here, ["advise", image, ...args]);
    assertEquals(code, 1);
    assertMatch(stdout, /^Use no compression/m);
    assertStringIncludes(stderr, `Cannot write ${report}`);
  });
});

test("multifd advise fails on what is not there", async () => {
  const { code, stderr } = await run(here, ["advise", "/no/such/image", "--quick"]);
  assertEquals(code, 1);
  assertStringIncludes(stderr, "/no/such/image");
});
