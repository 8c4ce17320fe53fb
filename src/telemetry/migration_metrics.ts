/** A migration's figures as Prometheus' metrics: base units, and counters of what only grows. */
import type { ChannelCounters } from "../channels/counters.ts";
import type { EngineCounts } from "../engines/engine.ts";
import type { Metrics } from "../migration/info.ts";
import type { MetricFamily, Sample } from "./exposition.ts";

/** What a migration may be at, in QEMU's words. */
export const STATUSES = ["setup", "active", "completed", "failed", "cancelled"] as const;

/** What a migration is at. */
export type Status = typeof STATUSES[number];

/** A migration at one moment. */
export interface MigrationState {
  /** What it is to this end: `send`, `recv`, `save` or `restore`. */
  role: string;
  /** What it is at. */
  status: Status;
  /** When the first connection was made, in milliseconds of Unix time. */
  startedAt?: number;
  /** When it was over, in milliseconds of Unix time. */
  endedAt?: number;
  /** First connect to the receiver holding every page, or to now, in milliseconds. */
  totalTime?: number;
  /** First connect to the end of the set-up sync, in milliseconds. */
  setupTime?: number;
  /** From every page being held to the end, in milliseconds. */
  finishTime?: number;
  /** The figures, once there are some. */
  metrics?: Metrics;
}

/** The metrics of a migration. Their help must not differ between files: node_exporter insists. */
export function migrationMetrics(state: MigrationState): MetricFamily[] {
  const { metrics } = state;
  return [
    ...stateMetrics(state),
    ...(metrics === undefined ? [] : ramMetrics(metrics)),
    ...(metrics === undefined ? [] : channelMetrics(metrics.perChannel)),
    ...(metrics?.engineCounts === undefined
      ? []
      : engineMetrics(metrics.engine!, metrics.engineCounts)),
  ];
}

function gauge(name: string, help: string, ...samples: Sample[]): MetricFamily {
  return { name, type: "gauge", help, samples };
}

function counter(name: string, help: string, ...samples: Sample[]): MetricFamily {
  return { name, type: "counter", help, samples };
}

/** A sample without labels of its own. */
function plain(value: number): Sample {
  return { labels: {}, value };
}

/** Milliseconds as a sample in seconds; none where they are not known yet. */
function seconds(milliseconds: number | undefined): Sample[] {
  return milliseconds === undefined ? [] : [plain(toSeconds(milliseconds))];
}

function toSeconds(milliseconds: number): number {
  return Math.round(milliseconds * 1000) / 1e6;
}

function stateMetrics(state: MigrationState): MetricFamily[] {
  const { role, metrics } = state;
  const { method = "", engine = "", transport = "" } = metrics ?? {};
  return [
    gauge(
      "multifd_migration_info",
      "What the migration is; method and engine are empty until they are known.",
      { labels: { role, method, engine, transport }, value: 1 },
    ),
    gauge(
      "multifd_migration_status",
      "1 for the status that the migration is in, 0 for the others.",
      ...STATUSES.map((status) => ({ labels: { status }, value: Number(status === state.status) })),
    ),
    gauge(
      "multifd_migration_start_timestamp_seconds",
      "Unix time of the first connection.",
      ...seconds(state.startedAt),
    ),
    gauge(
      "multifd_migration_end_timestamp_seconds",
      "Unix time at which the migration was over, whatever its status.",
      ...seconds(state.endedAt),
    ),
    gauge(
      "multifd_migration_total_time_seconds",
      "First connect to the receiver holding every page, or to now.",
      ...seconds(state.totalTime),
    ),
    gauge(
      "multifd_migration_setup_time_seconds",
      "First connect to the end of the set-up sync.",
      ...seconds(state.setupTime),
    ),
    gauge(
      "multifd_migration_finish_time_seconds",
      "From the receiver holding every page to the image being hashed and on disk.",
      ...seconds(state.finishTime),
    ),
  ];
}

function ramMetrics({ ram }: Metrics): MetricFamily[] {
  return [
    gauge("multifd_ram_bytes", "Guest RAM.", plain(ram.total)),
    gauge("multifd_page_size_bytes", "Size of a page.", plain(ram.pageSize)),
    counter("multifd_transferred_bytes_total", "Bytes on all connections.", plain(ram.transferred)),
    counter(
      "multifd_pages_total",
      "Pages of guest RAM, repeats included: with data (normal) or zero.",
      { labels: { kind: "normal" }, value: ram.normal },
      { labels: { kind: "zero" }, value: ram.duplicate },
    ),
    counter(
      "multifd_dirty_syncs_total",
      "Rounds, each ended by a sync, the set-up's included.",
      plain(ram.dirtySyncCount),
    ),
    gauge(
      "multifd_compression_ratio",
      "Bytes of the pages, zero pages included, for each byte on the connections.",
      plain(ram.ratio),
    ),
    gauge(
      "multifd_throughput_bytes_per_second",
      "Bytes on all connections per second since the first connect.",
      plain(ram.mbps * 1e6 / 8),
    ),
    gauge(
      "multifd_pages_per_second",
      "Pages of guest RAM per second since the first connect.",
      plain(ram.pagesPerSecond),
    ),
  ];
}

function channelMetrics(channels: readonly ChannelCounters[]): MetricFamily[] {
  const each = (value: (channel: ChannelCounters) => number): Sample[] =>
    channels.map((channel) => ({ labels: { channel: String(channel.id) }, value: value(channel) }));
  const ofKind = (kind: string, value: (channel: ChannelCounters) => number): Sample[] =>
    each(value).map((sample) => ({ ...sample, labels: { ...sample.labels, kind } }));
  return [
    counter(
      "multifd_channel_bytes_total",
      "Bytes on the channel, greeting included.",
      ...each(({ bytes }) => bytes),
    ),
    counter(
      "multifd_channel_packets_total",
      "Packets on the channel, SYNC packets included.",
      ...each(({ packets }) => packets),
    ),
    counter(
      "multifd_channel_pages_total",
      "Pages on the channel: with data (normal) or zero.",
      ...ofKind("normal", ({ normalPages }) => normalPages),
      ...ofKind("zero", ({ zeroPages }) => zeroPages),
    ),
    counter(
      "multifd_channel_codec_seconds_total",
      "Time in which the channel compressed or decompressed.",
      ...each(({ codecTime }) => toSeconds(codecTime)),
    ),
    counter(
      "multifd_channel_wait_seconds_total",
      "Time in which the channel waited for its connection, or its turn where the rate is limited.",
      ...each(({ waitTime }) => toSeconds(waitTime)),
    ),
    counter(
      "multifd_channel_verify_caught_total",
      "Payloads that verifying found wrong and had made anew.",
      ...each(({ verifyCaught }) => verifyCaught),
    ),
  ];
}

function engineMetrics(engine: string, counts: EngineCounts): MetricFamily[] {
  const pages = (kind: string, value: number): Sample => ({ labels: { engine, kind }, value });
  return [
    counter(
      "multifd_engine_pages_total",
      "Pages by what computed them: the device, software in its place, or nothing (raw).",
      pages("device", counts.devicePages),
      pages("software", counts.softwarePages),
      pages("raw", counts.rawPages),
    ),
    counter(
      "multifd_engine_busy_retries_total",
      "Submissions that found the device's queues full.",
      { labels: { engine }, value: counts.busyRetries },
    ),
    counter(
      "multifd_engine_failures_total",
      "Statuses of the device's library that were no success, by its name for them.",
      ...Object.entries(counts.failures).map(([status, value]) => ({
        labels: { engine, status },
        value,
      })),
    ),
    gauge(
      "multifd_engine_jobs_in_flight_max",
      "Most jobs that the device had at once.",
      { labels: { engine }, value: counts.mostInFlight },
    ),
  ];
}
