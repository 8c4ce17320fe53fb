/** The advice as one page of HTML: no script, nothing from elsewhere. */
import type { Advice } from "./advise.ts";
import type { CodecMeasure, Speed } from "./codecs.ts";
import { isDeviceName } from "./devices.ts";
import { BOTTLENECKS } from "./pass.ts";
import { type Axis, decades, drawPlot, escapeText, type Series } from "./plot.ts";
import { CHANNELS, LINKS, type Plan, planOf, rankPlans } from "./recommend.ts";
import { durationText, linkText, titleOf, withoutSlowerEngines } from "./sentence.ts";

/** Told apart on white, also by those who see no red or no green (Okabe and Ito). */
const COLOURS = ["#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9"];
/** More lines than this nobody tells apart. */
const MOST_SERIES = 7;

const STYLE = `
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2em auto; padding: 0 1em;
  color: #1a1a1a; background: #fff; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
.advice { font-size: 1.1em; border-left: 4px solid #0072b2; padding: .4em .8em; background: #f2f7fb; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .15em .7em; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
.wide { overflow-x: auto; }
pre { background: #f5f5f5; padding: .6em; white-space: pre-wrap; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #333; }
svg .title, svg .name { font-weight: 600; }
svg .grid { stroke: #e4e4e4; } svg .frame { stroke: #666; fill: none; }
svg .line { fill: none; stroke-width: 2; } svg .leader { stroke-width: 1; opacity: .5; }
`;

/** Writes the page. */
export function reportHtml(advice: Advice): string {
  const { question, recommendation, settings, notes } = advice;
  const plans = withoutSlowerEngines(advice.plans);
  const shown = shownPlans(plans);
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>multifd advise</title>
<style>${STYLE}</style>
</head>
<body>
<h1>Moving this guest</h1>
<p class="advice">${escapeText(recommendation)}</p>
<p>${escapeText(scopeText(advice))}</p>
<h2>Settings</h2>
<pre>${escapeText(settingsText(advice))}</pre>
${settings.virshNote === "" ? "" : `<p>${escapeText(settings.virshNote)}.</p>`}
<h2>Total time against the speed of the link</h2>
${plotOfLinks(advice, shown)}
<h2>Total time against the number of channels, over ${linkText(question.link.bitsPerSecond)}</h2>
${plotOfChannels(advice, shown)}
<h2>CPU seconds of both hosts against total time, over ${linkText(question.link.bitsPerSecond)}</h2>
${plotOfCpu(shown)}
<h2>Plans</h2>
<div class="wide">${table(PLAN_HEAD, plans.map(planRow))}</div>
<h2>Seconds that each part needs by itself</h2>
<div class="wide">${
    table(
      ["method", ...BOTTLENECKS],
      advice.plans.map((plan) => [
        titleOf(plan.candidate),
        ...BOTTLENECKS.map((name) => plan.prediction.needs[name].toFixed(2)),
      ]),
    )
  }</div>
<h2>Measured on the sampled pages</h2>
<div class="wide">${table(CODEC_HEAD, advice.profile.codecs.map(codecRow))}</div>
<p>MB of pages with data per second and core: the median, and the least and most of five batches.</p>
<h2>Costs besides the codec</h2>
${pipeTable(advice)}
<p>CPU time; ${escapeText(advice.question.pipe.origin)}.</p>
${notes.length === 0 ? "" : `<h2>What was not measured here</h2>\n${list(notes)}`}
</body>
</html>
`;
}

function scopeText({ kind, profile, question, sender }: Advice): string {
  const { guest, hosts, link, load } = question;
  const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
  const { zero, incompressible, duplicate } = profile.shares;
  const dirty = load === undefined
    ? "the guest is paused"
    : `the guest writes ${(load.bytesPerSecond / 1e6).toFixed(0)} MB/s`;
  return `${(guest.bytes / 2 ** 30).toFixed(2)} GiB of guest RAM, moved by ${
    sender === "qemu" ? "QEMU" : "multifd"
  } over ${
    linkText(link.bitsPerSecond)
  }, ${hosts.sourceCores} cores at the source and ${hosts.destinationCores} at the destination, ${dirty}. Of ${profile.sampledPages} pages sampled from the ${kind}, ${
    percent(zero)
  } are zero, ${percent(incompressible)} do not shrink, and at least ${
    percent(duplicate)
  } are like another one.`;
}

/** What is pasted, for people. */
export function settingsText({ settings }: Pick<Advice, "settings">): string {
  const { qmp, virsh, multifd } = settings;
  return [
    "# both QEMUs, over QMP",
    ...qmp.map((command) => JSON.stringify(command)),
    ...(virsh === undefined ? [] : ["# or with libvirt", virsh]),
    ...(multifd === undefined ? [] : ["# or with multifd", ...multifd]),
  ].join("\n");
}

interface Shown {
  plan: Plan;
  name: string;
  colour: string;
}

/** The best plan of each method and device, and then the next ones. */
function shownPlans(plans: readonly Plan[]): Shown[] {
  const families = plans.map(({ candidate: { method, engine } }) =>
    isDeviceName(engine) ? engine : method
  );
  const isFirst = (_: Plan, i: number): boolean => families.indexOf(families[i]!) === i;
  const order = [
    ...plans.filter(isFirst),
    ...plans.filter((plan, i) => !isFirst(plan, i)),
  ];
  return order.slice(0, MOST_SERIES).map((plan, i) => ({
    plan,
    name: titleOf(plan.candidate),
    colour: COLOURS[i]!,
  }));
}

const MINUTES = [60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000, 72000];
const SECONDS: Axis = {
  title: "total time",
  marks: [...decades(-3, 0), 10, 20, 30, ...MINUTES],
  format: (seconds) => durationText(seconds * 1000),
};
const LINK: Axis = {
  title: "link, Gbit/s",
  marks: [1e8, 2.5e8, 5e8, 1e9, 2.5e9, 5e9, 1e10, 2.5e10, 5e10, 1e11, 4e11],
  // with its unit one would lie on the next
  format: (bits) => String(bits / 1e9),
};
const CHANNEL: Axis = { title: "channels", marks: [1, 2, 4, 8, 16, 32], format: String };
const CPU: Axis = {
  title: "CPU seconds, both hosts",
  marks: [0.03, 0.3, 3, 30, 300, 3000, ...decades(-3, 5)].sort((a, b) => a - b),
  format: (seconds) => `${seconds} s`,
};

/** Points of what ends. */
function pointsOf(
  plans: readonly (readonly [x: number, plan: Plan])[],
): (readonly [number, number])[] {
  return plans.flatMap(([x, { prediction }]) =>
    prediction.totalTime === undefined ? [] : [[x, prediction.totalTime / 1000] as const]
  );
}

function plotOfLinks({ question }: Advice, shown: readonly Shown[]): string {
  const series = shown.map(({ plan, name, colour }): Series => ({
    name,
    colour,
    points: pointsOf(LINKS.map((bitsPerSecond) => {
      const link = { ...question.link, bitsPerSecond };
      return [bitsPerSecond, rankPlans([plan.candidate], { ...question, link })[0]!];
    })),
  }));
  return drawPlot({ title: "Total time against link speed", x: LINK, y: SECONDS, series });
}

function plotOfChannels({ question }: Advice, shown: readonly Shown[]): string {
  const series = shown.map(({ plan, name, colour }): Series => ({
    name,
    colour,
    points: pointsOf(CHANNELS.map((channels) => [
      channels,
      planOf(plan.candidate, question, channels),
    ])),
  }));
  return drawPlot({ title: "Total time against channels", x: CHANNEL, y: SECONDS, series });
}

function plotOfCpu(shown: readonly Shown[]): string {
  const series = shown.map(({ plan, name, colour }): Series => ({
    name: `${name}, ${plan.channels} ch.`,
    colour,
    points: plan.prediction.totalTime === undefined
      ? []
      : [[plan.prediction.totalTime / 1000, plan.prediction.cpuSeconds]],
  }));
  return drawPlot({ title: "CPU seconds against total time", x: SECONDS, y: CPU, series });
}

/** Headings of the plans, in the words that people know from QEMU. */
export const PLAN_HEAD: readonly string[] = [
  "method",
  "engine",
  "channels",
  "total time",
  "downtime",
  "bytes",
  "throughput (mbps)",
  "pages per second",
  "send CPU %",
  "receive CPU %",
  "held up by",
];

/** A plan's row. */
export function planRow({ candidate, channels, prediction }: Plan): string[] {
  return [
    titleOf(candidate),
    candidate.engine,
    String(channels),
    durationText(prediction.totalTime),
    prediction.downtime === undefined ? "-" : durationText(prediction.downtime),
    `${(prediction.bytes / 1e6).toFixed(0)} MB`,
    prediction.mbps.toFixed(0),
    prediction.pagesPerSecond.toFixed(0),
    prediction.sendCpu.toFixed(0),
    prediction.receiveCpu.toFixed(0),
    prediction.bottleneck,
  ];
}

/** Headings of what was measured. */
export const CODEC_HEAD: readonly string[] = [
  "method",
  "engine",
  "ratio",
  "encode MB/s",
  "min..max",
  "decode MB/s",
  "min..max",
];

/** A measured codec's row. */
export function codecRow(codec: CodecMeasure): string[] {
  const { method, level, dense, engine } = codec;
  const speed = (speed: Speed | undefined): string[] => {
    if (speed === undefined) return ["-", ""];
    const { median, min, max } = speed.rate;
    return [median.toFixed(0), `${min.toFixed(0)}..${max.toFixed(0)}`];
  };
  return [
    `${method}${level === undefined ? "" : ` ${level}`}${dense ? " dense" : ""}`,
    engine,
    (1 / codec.left).toFixed(2),
    ...speed(codec.encode),
    ...speed(codec.decode),
  ];
}

function pipeTable({ question: { pipe } }: Advice): string {
  const row = (name: string, key: keyof typeof pipe.send, unit: number): string[] => [
    name,
    (pipe.send[key] * unit).toFixed(2),
    (pipe.receive[key] * unit).toFixed(2),
  ];
  return table(["", "sender", "receiver"], [
    row("once, ms", "fixed", 1e3),
    row("per page, µs", "perPage", 1e6),
    row("per page with data, µs more", "perDataPage", 1e6),
    row("per byte on the wire, ns", "perWireByte", 1e9),
  ]);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[], tag: string): string =>
    `<tr>${cells.map((cell) => `<${tag}>${escapeText(cell)}</${tag}>`).join("")}</tr>`;
  return `<table>\n${line(head, "th")}\n${rows.map((row) => line(row, "td")).join("\n")}\n</table>`;
}

function list(items: readonly string[]): string {
  return `<ul>\n${items.map((item) => `<li>${escapeText(item)}</li>`).join("\n")}\n</ul>`;
}
