import { test } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { renderPage } from "../../bench/_page.ts";
import type { Report } from "../../bench/_report.ts";
import { summarize } from "../../bench/_summary.ts";
import { scaleTo, ticksTo } from "../../bench/_svg.ts";
import { makeRun } from "./_runs.ts";

const machine = {
  date: "2026-01-01T00:00:00.000Z",
  cpu: "a <processor> & more",
  cores: 2,
  memory: 2 ** 30,
  system: "Linux",
  versions: { deno: "2.9.6" },
};
const common = { machine, image: { bytes: 2 ** 20, sha256: "00ff" }, options: { runs: "1" } };

/** One of each benchmark. */
function reports(): Report[] {
  const runs = ["QEMU", "deno", "bun", "QEMU to deno"].map((name, i) => makeRun(name, 100 + 9 * i));
  const limits = { wall: { atMost: 0.9 }, cpu: {}, bytes: {} };
  const summaries = summarize(runs, "QEMU", () => limits);
  const value = { median: 2, min: 1, max: 3 };
  const check = { runtime: "deno", method: undefined, unit: "ms", value, atMost: 1 };
  const engines = [{ method: "qpl", engine: "isal", encode: value, decode: undefined, left: 0.5 }];
  return [
    { suite: "micro", ...common, notes: [], engines, steps: [{ step: "parse", time: value }] },
    { suite: "gate", ...common, notes: [], summaries, runs },
    { suite: "qemu", ...common, notes: ["qpl: QEMU here has no <qpl>"], summaries, runs },
    {
      suite: "growth",
      ...common,
      notes: [],
      checks: [{ what: "start", ...check, verdict: "missed" }],
      runs: [],
    },
    {
      suite: "commands",
      ...common,
      notes: [],
      checks: [{ what: "help", ...check, verdict: "none" }],
      runs: [],
    },
  ];
}

test("ticksTo() gives round numbers that reach the most", () => {
  assertEquals(ticksTo(1.2, 4), [0, 0.5, 1, 1.5]);
  assertEquals(ticksTo(2114), [0, 500, 1000, 1500, 2000, 2500]);
  assertEquals(ticksTo(0.3, 3), [0, 0.1, 0.2, 0.3]);
});

test("scaleTo() keeps what is too large inside the plot", () => {
  const x = scaleTo([0, 1, 2], 100, 200);
  assertEquals([x(0), x(1), x(5)], [100, 150, 200]);
});

test("renderPage() writes one whole page of every benchmark, which loads nothing", () => {
  const page = renderPage({ machine, reports: reports() });
  for (
    const heading of [
      "Against QEMU",
      "Against C",
      "Growth",
      "hyperfine",
      "by themselves",
      "Machine",
    ]
  ) {
    assertStringIncludes(page, heading);
  }
  assert(!/(src|href)="(?!data:)|@import|url\(|<script/.test(page), "it loads something");
  assert(!page.includes("NaN") && !page.includes("undefined"), "a figure is missing");
  for (const tag of ["svg", "table", "tr", "td", "th", "text", "div", "ul", "p", "h2"]) {
    const opened = page.match(new RegExp(`<${tag}[ >]`, "g"))?.length;
    assertEquals(page.match(new RegExp(`</${tag}>`, "g"))?.length, opened, tag);
  }
});

test("renderPage() shows text as text", () => {
  const page = renderPage({ machine, reports: reports() });
  assertStringIncludes(page, "a &lt;processor&gt; &amp; more");
  assertStringIncludes(page, "QEMU here has no &lt;qpl&gt;");
});

test("renderPage() shows the verdict with the ratio", () => {
  const page = renderPage({ machine, reports: reports() });
  assertStringIncludes(page, ">1.09 missed</text>");
});
