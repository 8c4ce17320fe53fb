/** What the command prints: results on stdout, messages on stderr. */
import process from "node:process";
import { CancelledError, MultifdError } from "../errors.ts";
import type { EngineCounts } from "../engines/engine.ts";
import { isSimulated } from "../engines/simulated.ts";
import type { EventHandler, MigrationInfo, Received } from "../migration/info.ts";
import type { FinishedBlock } from "../ram/target.ts";
import type { ChannelCounters } from "../channels/counters.ts";

/** Prints a line of the result. */
export function print(text: string): void {
  clearStatus();
  console.log(text);
}

/** Prints a line of many; false if nobody reads them any more. */
export function printLine(text: string): Promise<boolean> {
  process.stdout.off("error", ignore).on("error", ignore);
  return new Promise((resolve) => {
    process.stdout.write(`${text}\n`, (error) => resolve(error === null || error === undefined));
  });
}

function ignore(): void {}

/** Where messages go: made with the first one, for which Deno loads its streams. */
function messages(): typeof process.stderr {
  // whoever reads them may leave: that ends no migration
  return process.stderr.off("error", ignore).on("error", ignore);
}

/** Prints a message. */
export function tell(text: string): void {
  clearStatus();
  // not console.error, which Bun has red on a terminal
  messages().write(`${text}\n`);
}

/** Whether messages go to a terminal. */
export function isOnTerminal(): boolean {
  return messages().isTTY === true;
}

/** A terminal's width where it does not tell. */
const COLUMNS = 80;
let hasStatus = false;

/** Shows a line on a terminal that whatever is told next takes the place of. */
export function showStatus(text: string): void {
  // what goes on in the next line would stay there
  const shown = text.slice(0, (messages().columns || COLUMNS) - 1);
  messages().write(`\r${shown}\x1b[K`);
  hasStatus = true;
}

/** Takes that line away. */
export function clearStatus(): void {
  if (hasStatus) messages().write("\r\x1b[K");
  hasStatus = false;
}

/** CPU seconds of this process so far, user and system, start-up included. */
function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** Tells the CPU seconds of a migration from those before its first connection and after RAM. */
export class CpuMeter {
  #startUp = 0;
  #pages = 0;

  /** Takes the migration's events. */
  readonly onEvent: EventHandler = ({ type }) => {
    if (type === "started") this.#startUp = cpuSeconds();
    if (type === "finishing") this.#pages = cpuSeconds() - this.#startUp;
  };

  /** The figures, once the migration is over, in the names of the JSON. */
  json(): Record<string, number> {
    return {
      "start-up-cpu-seconds": this.#startUp,
      "finish-cpu-seconds": cpuSeconds() - this.#startUp - this.#pages,
    };
  }
}

/** A block in the names of the JSON. */
export function blockJson(block: FinishedBlock): Record<string, unknown> {
  return {
    name: block.name,
    "used-length": block.usedLength,
    sha256: block.sha256 ?? null,
    ...(block.missing > 0 ? { "missing-pages": block.missing } : {}),
  };
}

/** A channel's counters in the names of the JSON. */
export function channelJson(channel: ChannelCounters): Record<string, unknown> {
  return {
    id: channel.id,
    packets: channel.packets,
    syncs: channel.syncs,
    normal: channel.normalPages,
    duplicate: channel.zeroPages,
    bytes: channel.bytes,
    "verify-caught": channel.verifyCaught,
    "codec-time": Math.round(channel.codecTime),
    "wait-time": Math.round(channel.waitTime),
  };
}

/** A migration's figures in query-migrate's names. */
export function migrationJson(info: MigrationInfo): Record<string, unknown> {
  const { ram } = info;
  return {
    status: info.status,
    "total-time": Math.round(info.totalTime),
    "setup-time": Math.round(info.setupTime),
    "finish-time": Math.round(info.finishTime),
    method: info.method,
    engine: info.engine,
    ...(isSimulated(info.engine) ? { simulated: true } : {}),
    ...(info.engineCounts === undefined ? {} : { "engine-counts": countsJson(info.engineCounts) }),
    transport: info.transport,
    channels: info.channels,
    machine: info.machine,
    "cpu-seconds": cpuSeconds(),
    ram: {
      total: ram.total,
      transferred: ram.transferred,
      normal: ram.normal,
      duplicate: ram.duplicate,
      "normal-bytes": ram.normalBytes,
      "multifd-bytes": ram.multifdBytes,
      ratio: Math.round(ram.ratio * 100) / 100,
      mbps: Math.round(ram.mbps * 100) / 100,
      "pages-per-second": ram.pagesPerSecond,
      "page-size": ram.pageSize,
      "dirty-sync-count": ram.dirtySyncCount,
    },
    blocks: info.blocks.map(blockJson),
    "per-channel": info.perChannel.map(channelJson),
  };
}

/** What a receiver knows, too. */
export function receivedJson(received: Received): Record<string, unknown> {
  return {
    ...migrationJson(received),
    uuid: received.uuid,
    sync: received.sync,
    rounds: received.rounds,
    "repeated-pages": received.repeatedPages,
  };
}

/** What became of the pages, in the names of the JSON. */
export function countsJson(counts: EngineCounts): Record<string, unknown> {
  return {
    "device-pages": counts.devicePages,
    "software-pages": counts.softwarePages,
    "raw-pages": counts.rawPages,
    "busy-retries": counts.busyRetries,
    "most-in-flight": counts.mostInFlight,
    failures: counts.failures,
  };
}

/** What became of the pages, in a line. */
export function countsLine(engine: string, counts: EngineCounts): string {
  const failures = Object.entries(counts.failures).map(([name, times]) => `${times} ${name}`);
  return `${engine}: ${counts.devicePages} pages by the ${
    isSimulated(engine) ? "simulated " : ""
  }device, ${counts.softwarePages} by software, ${counts.rawPages} raw; queues were full ` +
    `${counts.busyRetries} times${failures.length > 0 ? `; failures: ${failures.join(", ")}` : ""}`;
}

/** A failure, in query-migrate's names where it has them. */
export function failureJson(error: unknown): Record<string, unknown> {
  const { name, message } = error as Error;
  const facts = error instanceof MultifdError ? error.facts : {};
  const status = error instanceof CancelledError ? "cancelled" : "failed";
  return { status, "error-class": name, "error-desc": message, ...facts };
}

/** One line that sums a migration up. */
export function summary(info: MigrationInfo): string {
  const { ram } = info;
  const rate = ram.total / 1e6 / (info.totalTime / 1000);
  return `${formatBytes(ram.total)} of guest RAM in ${Math.round(info.totalTime)} ms ` +
    `(${Math.round(rate)} MB/s), ${formatBytes(ram.transferred)} on the wire, ` +
    `method ${info.method}, engine ${info.engine}, transport ${info.transport}, ` +
    `${info.channels} channels`;
}

/** Bytes for people, in powers of 1024. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** Rows as a table: columns as wide as they must be, numbers to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  const isNumber = (text: string): boolean => /^[\d.,]+( \w+)?$/.test(text);
  return rows.map((row) =>
    row.map((cell, i) => isNumber(cell) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))
      .join("  ").trimEnd()
  ).join("\n");
}
