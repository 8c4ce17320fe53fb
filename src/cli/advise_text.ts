/** Advice as text and as JSON. */
import type { Advice } from "../advise/advise.ts";
import type { CodecMeasure, Speed } from "../advise/codecs.ts";
import { type Plan, rankPlans } from "../advise/recommend.ts";
import { CODEC_HEAD, codecRow, PLAN_HEAD, planRow, settingsText } from "../advise/report.ts";
import { durationText, linkText, titleOf, withoutSlowerEngines } from "../advise/sentence.ts";
import { formatBytes, table } from "./output.ts";

/** Links that people have, in bits per second. */
const COMMON_LINKS: readonly number[] = [1e9, 10e9, 25e9, 40e9, 100e9];

/** The best plan on each of the links that people have. */
function byLink({ candidates, question }: Advice): { bitsPerSecond: number; best: Plan }[] {
  return COMMON_LINKS.map((bitsPerSecond) => {
    const link = { ...question.link, bitsPerSecond };
    return { bitsPerSecond, best: rankPlans(candidates, { ...question, link })[0]! };
  });
}

/** Advice for a terminal. */
export function adviceText(advice: Advice): string {
  const { kind, profile, plans, recommendation, settings, notes } = advice;
  const { zero, incompressible, duplicate } = profile.shares;
  const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
  return [
    `${profile.sampledPages} pages sampled of ${formatBytes(profile.bytes)} (${kind}): ` +
    `${percent(zero)} zero, ${percent(incompressible)} do not shrink, ` +
    `at least ${percent(duplicate)} duplicates`,
    "",
    table([CODEC_HEAD, ...profile.codecs.map(codecRow)]),
    "",
    table([PLAN_HEAD, ...withoutSlowerEngines(plans).map(planRow)]),
    "",
    table([
      ["link", "best", "channels", "total time", "held up by"],
      ...byLink(advice).map(({ bitsPerSecond, best }) => [
        linkText(bitsPerSecond),
        titleOf(best.candidate),
        String(best.channels),
        durationText(best.prediction.totalTime),
        best.prediction.bottleneck,
      ]),
    ]),
    "",
    recommendation,
    "",
    settingsText(advice),
    ...(settings.virshNote === "" ? [] : [`# ${settings.virshNote}`]),
    ...(notes.length === 0 ? [] : ["", ...notes.map((note) => `note: ${note}`)]),
  ].join("\n");
}

function speedJson(speed: Speed | undefined): Record<string, number> | null {
  if (speed === undefined) return null;
  const { median, min, max } = speed.rate;
  return { median, min, max };
}

function codecJson(codec: CodecMeasure): Record<string, unknown> {
  return {
    method: codec.method,
    level: codec.level ?? null,
    engine: codec.engine,
    kind: codec.kind,
    dense: codec.dense,
    ratio: 1 / codec.left,
    "encode-mb-per-second": speedJson(codec.encode),
    "decode-mb-per-second": speedJson(codec.decode),
  };
}

function planJson({ candidate, channels, prediction }: Plan): Record<string, unknown> {
  return {
    method: candidate.method,
    level: candidate.level ?? null,
    engine: candidate.engine,
    dense: candidate.dense,
    origin: candidate.origin,
    channels,
    converges: prediction.converges,
    "total-time": prediction.totalTime === undefined ? null : Math.round(prediction.totalTime),
    downtime: prediction.downtime === undefined ? null : Math.round(prediction.downtime),
    "dirty-sync-count": prediction.rounds,
    transferred: Math.round(prediction.bytes),
    mbps: prediction.mbps,
    "pages-per-second": Math.round(prediction.pagesPerSecond),
    "send-cpu-percent": prediction.sendCpu,
    "receive-cpu-percent": prediction.receiveCpu,
    "cpu-seconds": prediction.cpuSeconds,
    bottleneck: prediction.bottleneck,
    "seconds-by-part": prediction.needs,
  };
}

/** Advice as an object of JSON. */
export function adviceJson(advice: Advice): Record<string, unknown> {
  const { profile, question, settings } = advice;
  const { guest, hosts, link, load, pipe } = question;
  const side = (costs: typeof pipe.send): Record<string, number> => ({
    fixed: costs.fixed,
    "per-page": costs.perPage,
    "per-data-page": costs.perDataPage,
    "per-wire-byte": costs.perWireByte,
  });
  return {
    status: "completed",
    source: {
      kind: advice.kind,
      bytes: profile.bytes,
      "page-size": profile.pageSize,
      "sampled-pages": profile.sampledPages,
      "zero-share": profile.shares.zero,
      "incompressible-share": profile.shares.incompressible,
      "duplicate-share": profile.shares.duplicate,
    },
    scenario: {
      sender: advice.sender,
      ram: guest.bytes,
      "link-bits-per-second": link.bitsPerSecond,
      "source-cores": hosts.sourceCores,
      "destination-cores": hosts.destinationCores,
      channels: question.channels ?? null,
      "dirty-bytes-per-second": load?.bytesPerSecond ?? 0,
      "working-set": load?.workingSet ?? null,
      "downtime-limit": load === undefined ? null : load.downtimeLimit * 1000,
    },
    codecs: profile.codecs.map(codecJson),
    "pipe-costs-in-seconds": {
      origin: pipe.origin,
      "thread-per-channel": pipe.isThreaded,
      setup: pipe.setup,
      send: side(pipe.send),
      receive: side(pipe.receive),
    },
    plans: advice.plans.map(planJson),
    "best-by-link": byLink(advice).map(({ bitsPerSecond, best }) => ({
      "link-bits-per-second": bitsPerSecond,
      ...planJson(best),
    })),
    "none-is-best-from-bits-per-second": advice.noneFrom ?? null,
    recommendation: advice.recommendation,
    settings: {
      qmp: settings.qmp,
      virsh: settings.virsh ?? null,
      "virsh-note": settings.virshNote,
      multifd: settings.multifd ?? null,
    },
    notes: advice.notes,
  };
}
