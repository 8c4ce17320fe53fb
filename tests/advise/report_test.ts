import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Advice } from "../../src/advise/advise.ts";
import { type Axis, decades, drawPlot } from "../../src/advise/plot.ts";
import { rankPlans } from "../../src/advise/recommend.ts";
import { reportHtml } from "../../src/advise/report.ts";
import { durationText, linkText } from "../../src/advise/sentence.ts";
import { settingsOf } from "../../src/advise/settings.ts";
import { candidates, GIB, profile, question } from "./_coefficients.ts";

function advice(changes: Partial<Advice> = {}): Advice {
  const guest = profile();
  const asked = question({ guest });
  const all = candidates(guest);
  const plans = rankPlans(all, asked);
  return {
    kind: "image",
    profile: guest,
    sender: "multifd",
    question: asked,
    candidates: all,
    plans,
    noneFrom: 25e9,
    recommendation: "Use this & not <that>.",
    settings: settingsOf(plans[0]!, "multifd"),
    notes: ["something was not measured"],
    ...changes,
  };
}

test("reportHtml() asks nobody for anything", () => {
  const html = reportHtml(advice());
  assert(!/https?:|\bsrc=|@import|url\(|<script|<link rel="style/i.test(html));
  const links = [...html.matchAll(/href="([^"]*)"/g)].map((match) => match[1]);
  assertEquals(links, ["data:,"]);
});

test("reportHtml() has three plots, the settings and all that was measured", () => {
  const html = reportHtml(advice());
  assertEquals(html.match(/<svg /g)!.length, 3);
  assertStringIncludes(html, "Use this &amp; not &lt;that&gt;.");
  assertStringIncludes(html, "&quot;multifd-compression&quot;:&quot;zstd&quot;");
  assertStringIncludes(html, "--comp-methods zstd");
  for (const heading of ["downtime", "throughput (mbps)", "send CPU %", "receive CPU %"]) {
    assertStringIncludes(html, `<th>${heading}</th>`);
  }
  assertStringIncludes(html, "something was not measured");
});

test("reportHtml() takes a guest that no method keeps up with", () => {
  const load = { bytesPerSecond: 50e9, workingSet: 8 * GIB, downtimeLimit: 0.3 };
  const asked = question({ guest: profile(), load });
  const html = reportHtml(
    advice({ question: asked, plans: rankPlans(candidates(profile()), asked) }),
  );
  assertStringIncludes(html, "<td>never</td>");
  assert(!html.includes("NaN") && !html.includes("Infinity") && !html.includes("undefined"));
});

const AXIS: Axis = { title: "time", marks: decades(-2, 4), format: String };

test("drawPlot() keeps names apart and inside the picture", () => {
  const series = Array.from({ length: 7 }, (_, i) => ({
    name: `method ${i}`,
    colour: "#000",
    points: [[1, 100], [10, 10 + i / 1000]] as [number, number][],
  }));
  const svg = drawPlot({ title: "plot", x: AXIS, y: AXIS, series });
  const heights = [...svg.matchAll(/<text x="[\d.]+" y="([\d.]+)" style=/g)]
    .map((match) => Number(match[1]));
  assertEquals(heights.length, 7);
  heights.slice(1).forEach((height, i) => assert(height - heights[i]! >= 16));
  assert(heights.every((height) => height > 0 && height < 420));
});

test("drawPlot() draws one point, and says so where there is nothing", () => {
  const dot = { name: "dot", colour: "#000", points: [[5, 5]] as [number, number][] };
  const svg = drawPlot({ title: "plot", x: AXIS, y: AXIS, series: [dot] });
  assertMatch(svg, /<circle/);
  assert(!svg.includes("NaN"));
  const empty = drawPlot({ title: "plot", x: AXIS, y: AXIS, series: [{ ...dot, points: [] }] });
  assertMatch(empty, /nothing to plot/);
});

test("durationText() and linkText() write figures as people do", () => {
  assertEquals([140.4, 4234, 200_000, 7_500_000, undefined].map(durationText), [
    "140 ms",
    "4.2 s",
    "3 min 20 s",
    "2 h 5 min",
    "never",
  ]);
  assertEquals([1e8, 2.5e9, 1e11, Infinity].map(linkText), [
    "100 Mbit/s",
    "2.5 Gbit/s",
    "100 Gbit/s",
    "an unlimited link",
  ]);
});
