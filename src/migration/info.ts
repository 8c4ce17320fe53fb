/** What a migration reports: its events while it runs, its figures when it is over. */
import type { ChannelCounters } from "../channels/counters.ts";
import type { EngineCounts } from "../engines/engine.ts";
import type { VmTail } from "../protocol/vm_tail.ts";
import type { RoundPages } from "../ram/manifest.ts";
import type { FinishedBlock } from "../ram/target.ts";

/** Figures of a migration's RAM. */
export interface RamInfo {
  /** Bytes of guest RAM. */
  total: number;
  /** Bytes on all connections. */
  transferred: number;
  /** Pages with data. */
  normal: number;
  /** Zero pages. */
  duplicate: number;
  /** Bytes of the pages with data. */
  normalBytes: number;
  /** Bytes on the multifd channels. */
  multifdBytes: number;
  /** Bytes of the pages, zero pages included, for each byte on the connections. */
  ratio: number;
  /** Bytes on the wire per time, in megabits per second, since the first connect. */
  mbps: number;
  /** Pages of guest RAM per second, since the first connect. */
  pagesPerSecond: number;
  /** Page size in bytes. */
  pageSize: number;
  /** Syncs, the set-up's included. */
  dirtySyncCount: number;
}

/** A migration's figures, the same while it runs and when it is over. */
export interface Metrics {
  /** The compression method; undefined until a receiver has seen it. */
  method: string | undefined;
  /** The engine that computes it, `none` for method none; undefined as the method is. */
  engine: string | undefined;
  /** The transport. */
  transport: string;
  /** The RAM's figures. */
  ram: RamInfo;
  /** Counters of each channel. */
  perChannel: ChannelCounters[];
  /** What became of the pages, where the engine has a device. */
  engineCounts: EngineCounts | undefined;
}

/** A migration that is over. */
export interface MigrationInfo extends Metrics {
  /** Always `completed`: everything else is thrown. */
  status: "completed";
  /** First connect to the receiver holding every page, in milliseconds. */
  totalTime: number;
  /** First connect to the end of the set-up sync, in milliseconds. */
  setupTime: number;
  /** From every page being held to the image being hashed and on disk, in milliseconds. */
  finishTime: number;
  /** The compression method. */
  method: string;
  /** The engine that computed it; `none` for method none. */
  engine: string;
  /** Number of multifd channels. */
  channels: number;
  /** Machine type. */
  machine: string;
  /** The RAM blocks. */
  blocks: FinishedBlock[];
}

/** What was received. */
export interface Received extends MigrationInfo {
  /** The guest's uuid. */
  uuid: string;
  /** What followed RAM's END. */
  tail: VmTail;
  /** How the main channel marked syncs. */
  sync: string;
  /** The pages of each round, the set-up's empty one first. */
  rounds: RoundPages[];
  /** Pages that arrived more than once. */
  repeatedPages: number;
  /** Whether packet_num was allowed to have gaps (QEMU 7.2 and 8). */
  lenientPacketNumbers: boolean;
}

/** How far a migration is. */
export interface Progress extends Metrics {
  /** Pages sent or received, repeats included. */
  pages: number;
  /** Pages of the guest. */
  totalPages: number;
  /** Bytes on the wire so far. */
  transferred: number;
  /** Page size in bytes. */
  pageSize: number;
  /** Syncs so far. */
  round: number;
  /** Milliseconds since the first connect. */
  elapsed: number;
}

/** What a migration tells while it runs. */
export type MigrationEvent =
  | { /** The receiver can be connected to. */ type: "listening"; address: string }
  | { /** The first connection is made: total-time begins. */ type: "started" }
  | { /** Set-up is over. */ type: "setup"; channels: number; totalPages: number }
  | { /** A round is over on all channels. */ type: "sync"; round: number }
  | ({ /** Told about four times a second. */ type: "progress" } & Progress)
  | { /** Every page is in; hashing and syncing to disk begin. */ type: "finishing" }
  | { /** Something odd that ends nothing. */ type: "warning"; message: string };

/** Takes a migration's events. */
export type EventHandler = (event: MigrationEvent) => void;

/** What the figures are computed from. */
export interface Figures {
  /** First connect to all pages held, in milliseconds. */
  totalTime: number;
  /** Bytes on the main channel. */
  mainBytes: number;
  /** Zero pages that travelled on the main channel. */
  mainZeroPages: number;
  /** Pages with data that travelled on the main channel. */
  mainNormalPages: number;
  /** Bytes of guest RAM. */
  total: number;
  /** Page size in bytes. */
  pageSize: number;
  /** Syncs. */
  rounds: number;
  /** Counters of each channel. */
  channels: readonly ChannelCounters[];
}

/** Computes the figures that people's dashboards know. */
export function ramInfo(figures: Figures): RamInfo {
  const { channels, pageSize } = figures;
  const sum = (count: (channel: ChannelCounters) => number): number =>
    channels.reduce((total, channel) => total + count(channel), 0);
  const normal = sum((channel) => channel.normalPages) + figures.mainNormalPages;
  const duplicate = sum((channel) => channel.zeroPages) + figures.mainZeroPages;
  const multifdBytes = sum((channel) => channel.bytes);
  const transferred = multifdBytes + figures.mainBytes;
  const seconds = Math.max(figures.totalTime, 0.001) / 1000;
  return {
    total: figures.total,
    transferred,
    normal,
    duplicate,
    normalBytes: normal * pageSize,
    multifdBytes,
    ratio: (normal + duplicate) * pageSize / Math.max(transferred, 1),
    mbps: transferred * 8 / 1e6 / seconds,
    pagesPerSecond: Math.round((normal + duplicate) / seconds),
    pageSize,
    dirtySyncCount: figures.rounds,
  };
}

/** How far a migration is, by its figures so far and the milliseconds since its first connect. */
export function progressOf(metrics: Metrics, elapsed: number): Progress {
  const { ram } = metrics;
  return {
    ...metrics,
    // a copy, since the channels go on counting
    perChannel: metrics.perChannel.map((counters) => ({ ...counters })),
    pages: ram.normal + ram.duplicate,
    totalPages: ram.total / ram.pageSize,
    transferred: ram.transferred,
    pageSize: ram.pageSize,
    round: ram.dirtySyncCount,
    elapsed,
  };
}
