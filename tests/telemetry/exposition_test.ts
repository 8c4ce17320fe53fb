import { test } from "node:test";
import { assertEquals, assertThrows } from "@std/assert";
import { formatMetrics, type MetricFamily } from "../../src/telemetry/exposition.ts";
import { readExposition } from "./_exposition.ts";

const PAGES: MetricFamily = {
  name: "multifd_pages_total",
  type: "counter",
  help: "Pages.",
  samples: [
    { labels: { kind: "normal" }, value: 7 },
    { labels: { kind: "zero" }, value: 0.5 },
  ],
};

test("formatMetrics() writes help, type and a line for each sample", () => {
  const time: MetricFamily = {
    name: "multifd_time_seconds",
    type: "gauge",
    help: "Time.",
    samples: [{ labels: {}, value: 2 ** 53 }],
  };
  assertEquals(
    formatMetrics([PAGES, time], { migration: "vm1" }),
    `# HELP multifd_pages_total Pages.
# TYPE multifd_pages_total counter
multifd_pages_total{migration="vm1",kind="normal"} 7
multifd_pages_total{migration="vm1",kind="zero"} 0.5
# HELP multifd_time_seconds Time.
# TYPE multifd_time_seconds gauge
multifd_time_seconds{migration="vm1"} 9007199254740992
`,
  );
});

test("formatMetrics() leaves out what has no samples", () => {
  assertEquals(formatMetrics([{ ...PAGES, samples: [] }], {}), "");
});

test("formatMetrics() escapes a label's value", () => {
  const text = formatMetrics([PAGES], { migration: 'a "b"\\n\nc' });
  assertEquals(
    text.split("\n")[2]!.slice(0, 51),
    'multifd_pages_total{migration="a \\"b\\"\\\\n\\nc",kind=',
  );
  readExposition(text);
});

const GOOD = '# HELP a_total A.\n# TYPE a_total counter\na_total{x="1"} 1\na_total{x="2"} 2\n';

test("the tests' own reader reads what is right", () => {
  const { type, help, samples } = readExposition(GOOD).get("a_total")!;
  assertEquals([type, help, [...samples]], ["counter", "A.", [['x="1"', 1], ['x="2"', 2]]]);
});

const WRONG: [what: string, text: string, message: string][] = [
  ["a last line without an end", GOOD.trimEnd(), "does not end"],
  ["no help", GOOD.slice(GOOD.indexOf("# TYPE")), "TYPE without HELP"],
  ["no type", GOOD.replace(/# TYPE.*\n/, ""), "outside its metric"],
  ["a metric in two places", GOOD + GOOD, "in two places"],
  ["a series twice", GOOD.replace('"2"', '"1"'), "a series twice"],
  ["a counter without _total", GOOD.replaceAll("a_total", "a"), "_total is for counters"],
  ["a gauge with _total", GOOD.replace(" counter", " gauge"), "_total is for counters"],
  ["milliseconds", GOOD.replaceAll("a_total", "a_milliseconds_total"), "no base unit"],
  ["an abbreviation", GOOD.replaceAll("a_total", "a_ms_total"), "no base unit"],
  ["a quote in a label", GOOD.replace('"1"', '"1"2"'), "no sample"],
  ["a timestamp", GOOD.replace(" 1\n", " 1 1700000000\n"), "no sample"],
  ["a word", GOOD.replace(" 1\n", " one\n"), "no number"],
  ["an empty line", GOOD.replace("\na_total", "\n\na_total"), "no sample"],
];
for (const [what, text, message] of WRONG) {
  test(`the tests' own reader refuses ${what}`, () => {
    assertThrows(() => readExposition(text), Error, message);
  });
}
