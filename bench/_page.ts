/** The page: one HTML file with everything in it, from the results' JSON alone. */
import { nameOf, rateOf } from "./_moves_table.ts";
import { barPlot, pointPlot, ratioPlot, type RatioRow, type Series } from "./_plots.ts";
import {
  checkRows,
  type ChecksReport,
  type EngineFigures,
  type MicroReport,
  type MovesReport,
  type Report,
} from "./_report.ts";
import type { Machine } from "./_machine.ts";
import { rangeText, relativeSpread, type Spread } from "./_statistics.ts";
import { type Comparison, rangedRatio, type Summary } from "./_summary.ts";
import { element, escapeText } from "./_svg.ts";

/** All results of one run. */
export interface Results {
  machine: Machine;
  reports: Report[];
}

const STYLE = `
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 1200px; margin: 2rem auto;
  padding: 0 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #d0d7de; }
svg { display: block; max-width: 100%; height: auto; font: 12px system-ui, sans-serif; }
.panels { display: grid; grid-template-columns: repeat(3, 1fr); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; margin: 1rem 0; }
th, td { padding: 2px 10px 2px 0; text-align: left; white-space: nowrap; }
th { border-bottom: 1px solid #8c959f; }
tr:nth-child(even) td { background: #f6f8fa; }
.title { font-weight: 600; } .value { font-size: 11px; } .mark { fill: #fff; font-size: 11px; }
.grid { stroke: #e1e4e8; } .one { stroke: #8c959f; stroke-dasharray: 4 3; }
.met { fill: #1a7f37; } .missed { fill: #cf222e; } .noisy { fill: #6e7781; }
.range { stroke: #1b1f24; } .limit { stroke: #cf222e; stroke-width: 2.5; }
.fill.reference { fill: #6e7781; } .fill.deno { fill: #0969da; } .fill.bun { fill: #bc4c00; }
.stroke { stroke-width: 2; } .stroke.reference { stroke: #6e7781; }
.stroke.deno { stroke: #0969da; } .stroke.bun { stroke: #bc4c00; }
.key { display: inline-block; width: 11px; height: 11px; margin: 0 5px 0 14px; }
.key.reference { background: #6e7781; } .key.deno { background: #0969da; }
.key.bun { background: #bc4c00; }
`;

function htmlTable([head, ...rows]: readonly (readonly string[])[]): string {
  const row = (cells: readonly string[], tag: string): string =>
    element("tr", {}, ...cells.map((cell) => `<${tag}>${escapeText(cell)}</${tag}>`));
  const body = rows.map((cells) => row(cells, "td"));
  return element("div", { class: "scroll" }, element("table", {}, row(head!, "th"), ...body));
}

function key(series: Series, name: string): string {
  return `<span class="key ${series}"></span>${escapeText(name)}`;
}

function legend(reference: string): string {
  const keys = [
    key("reference", reference),
    key("deno", "multifd, Deno"),
    key("bun", "multifd, Bun"),
  ];
  return element("p", {}, ...keys);
}

function notesOf({ notes }: Report): string {
  return notes.length === 0 ? "" : element(
    "ul",
    {},
    ...notes.map((note) => `<li>${escapeText(note)}</li>`),
  );
}

/** The colour of a program; of a pair, that of our end. */
function seriesOf(program: string): Series {
  if (program.includes("deno")) return "deno";
  return program.includes("bun") ? "bun" : "reference";
}

/** The same program at both ends. */
function isPure({ program }: Summary): boolean {
  return !program.includes(" to ");
}

function throughput({ summaries, image }: MovesReport): string {
  const groups = Map.groupBy(
    summaries.filter(isPure),
    ({ method, channels }) => `${method} ${channels}`,
  );
  return barPlot(
    "Throughput by method and channels",
    "MB/s of guest RAM, median and range",
    [...groups.values()].map((group) => ({
      label: group[0]!.method,
      detail: group[0]!.channels === 1 ? "1 channel" : `${group[0]!.channels} channels`,
      bars: group.map(({ program, time }) => ({
        series: seriesOf(program),
        value: {
          median: rateOf(image.bytes, time.median),
          min: rateOf(image.bytes, time.max),
          max: rateOf(image.bytes, time.min),
        },
      })),
    })),
  );
}

function cpuAgainstWall({ summaries }: MovesReport): string {
  const methods = Map.groupBy(summaries.filter(isPure), ({ method }) => method);
  const panels = [...methods].map(([method, group]) =>
    pointPlot(
      method,
      { x: "total-time, s", y: "CPU s, both ends" },
      group.map((summary) => ({
        series: seriesOf(summary.program),
        x: summary.time.median / 1000,
        y: summary.sendCpu.median + summary.receiveCpu.median,
        mark: String(summary.channels),
      })),
    )
  );
  return element("div", { class: "panels" }, ...panels);
}

function ratioRows(summaries: readonly Summary[], columns: readonly Comparison[]): RatioRow[] {
  return summaries.filter(({ ratios }) => Object.keys(ratios).length > 0).map((summary) => ({
    series: seriesOf(summary.program),
    label: `${summary.method} x${summary.channels} ${summary.program}`,
    cells: columns.map((column) => {
      const ratio = summary.ratios[column];
      if (ratio === undefined) return undefined;
      const verdict = ratio.verdict === "none" ? "" : ratio.verdict;
      return { value: ratio, limit: ratio.atMost ?? ratio.atLeast, verdict };
    }),
  }));
}

function movesHtmlTable(report: MovesReport, ratios: [Comparison, string][]): string {
  const head = ["", "total-time ms", "min..max", "MB/s", "CPU s send", "CPU s recv", "MB sent"];
  return htmlTable([
    [...head, ...ratios.map(([, heading]) => heading)],
    ...report.summaries.map((summary) => [
      nameOf(summary),
      summary.time.median.toFixed(0),
      rangeText(summary.time),
      rateOf(report.image.bytes, summary.time.median).toFixed(0),
      summary.sendCpu.median.toFixed(2),
      summary.receiveCpu.median.toFixed(2),
      (summary.bytes.median / 1e6).toFixed(1),
      ...ratios.map(([name]) => rangedRatio(summary.ratios[name])),
    ]),
  ]);
}

function qemuSection(report: MovesReport): string {
  const ratios: [Comparison, string][] = [
    ["wall", "wall"],
    ["cpu", "CPU"],
    ["bytes", "bytes"],
  ];
  const whole: [Comparison, string] = ["whole", "wall to SHUT"];
  const columns = ratios.map(([name]) => name);
  const pure = ratioRows(report.summaries.filter(isPure), columns);
  const mixed = ratioRows(report.summaries.filter((summary) => !isPure(summary)), columns);
  const headings = ratios.map(([, heading]) => `${heading}, by QEMU's`);
  return [
    "<h2>Against QEMU</h2>",
    legend("QEMU to QEMU"),
    "<h3>Throughput by method and channels</h3>",
    throughput(report),
    "<h3>CPU against wall time</h3><p>The number in a point is that of the channels; nearer to the",
    " corner is better.</p>",
    cpuAgainstWall(report),
    "<h3>Ours against QEMU to QEMU</h3><p>Dashed: as QEMU. Red: the most that the target allows.",
    " Lines: from least to most.</p>",
    pure.length > 0 ? ratioPlot("Ours against QEMU", headings, pure) : "",
    mixed.length > 0 ? "<h3>With a QEMU at one end</h3>" : "",
    mixed.length > 0 ? ratioPlot("With a QEMU at one end", headings, mixed) : "",
    movesHtmlTable(report, [...ratios, whole]),
    notesOf(report),
  ].join("");
}

function gateSection(report: MovesReport): string {
  return [
    "<h2>Against C doing the same</h2>",
    legend("C"),
    throughput(report),
    "<p>Red: the least that the gate allows. Dashed: as fast as C.</p>",
    ratioPlot("Ours against C", ["speed, by C's", "CPU, by C's"], [
      ...ratioRows(report.summaries, ["speed", "cpu"]),
    ]),
    movesHtmlTable(report, [["speed", "speed of C"], ["cpu", "CPU of C"]]),
    notesOf(report),
  ].join("");
}

function checksSection(heading: string, report: ChecksReport): string {
  return [`<h2>${heading}</h2>`, htmlTable(checkRows(report.checks)), notesOf(report)].join("");
}

function microSection(report: MicroReport): string {
  const rate = (spread: Spread | undefined): string =>
    spread === undefined
      ? ""
      : `${spread.median.toFixed(0)} ±${(relativeSpread(spread) * 50).toFixed(0)} %`;
  const row = ({ method, engine, encode, decode, left }: EngineFigures): string[] => [
    method,
    engine,
    rate(encode),
    rate(decode),
    left === undefined ? "" : `${(left * 100).toFixed(1)} %`,
  ];
  return [
    "<h2>Methods, engines and steps by themselves</h2><p>MB/s of pages with data on one core.</p>",
    htmlTable([["method", "engine", "compress", "decompress", "left"], ...report.engines.map(row)]),
    htmlTable([
      ["step", "microseconds per call", "min..max"],
      ...report.steps.map(({ step, time }) => [step, time.median.toFixed(2), rangeText(time, 2)]),
    ]),
    notesOf(report),
  ].join("");
}

function machineTable({ date, cpu, cores, memory, system, versions }: Machine): string {
  return htmlTable([
    ["measured", date],
    ["processor", `${cores} cores of ${cpu}, ${(memory / 2 ** 30).toFixed(0)} GiB`],
    ["system", system],
    ...Object.entries(versions),
  ]);
}

function imageLine({ suite, image, options }: Report): string[] {
  const text = Object.entries(options).map(([name, value]) => `--${name} ${value}`).join(" ");
  return [suite, `${(image.bytes / 2 ** 20).toFixed(0)} MiB`, image.sha256, text];
}

function section(report: Report): string {
  switch (report.suite) {
    case "qemu":
      return qemuSection(report);
    case "gate":
      return gateSection(report);
    case "growth":
      return checksSection("Growth, start and rate limit", report);
    case "commands":
      return checksSection("Whole commands, by hyperfine", report);
    case "micro":
      return microSection(report);
  }
}

/** What a reader asks for first comes first. */
const ORDER = ["qemu", "gate", "growth", "commands", "micro"];

/** The page of some results. */
export function renderPage({ machine, reports }: Results): string {
  return [
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>multifd benchmarks</title>',
    '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">',
    `<style>${STYLE}</style></head>\n<body><h1>multifd benchmarks</h1>`,
    "<p>Ratios are of one interleaved run; absolute times do not travel between machines.</p>",
    ...reports.toSorted((a, b) => ORDER.indexOf(a.suite) - ORDER.indexOf(b.suite)).map(section),
    "<h2>Machine and images</h2>",
    machineTable(machine),
    htmlTable([["benchmark", "image", "sha256", "options"], ...reports.map(imageLine)]),
    "</body></html>\n",
  ].join("\n");
}
