/** The sending side of a migration: set-up, one pass over the RAM, syncs, the end. */
import { setTimeout as sleep } from "node:timers/promises";
import type { ChannelCounters } from "../channels/counters.ts";
import { type EngineCounts, sumCounts } from "../engines/engine.ts";
import { PageWork } from "../channels/page_work.ts";
import type { SendingRun } from "../channels/sending_channel.ts";
import { MultifdError, PeerClosedError, PeerFailedError, ProtocolError } from "../errors.ts";
import type { SyncMode } from "../protocol/main_channel.ts";
import { ByteWriter } from "../protocol/byte_writer.ts";
import { emptyVmTail, MainChannelWriter } from "../protocol/main_channel_writer.ts";
import { ReturnPathReader } from "../protocol/return_path.ts";
import type { RamSource } from "../ram/target.ts";
import type { Connection } from "../transport/connection.ts";
import {
  type EventHandler,
  type Metrics,
  type MigrationInfo,
  progressOf,
  type RamInfo,
  ramInfo,
} from "./info.ts";
import { Lifeline } from "./lifeline.ts";

/** A channel as the migration drives it, step by step. */
export interface SenderChannel {
  /** What went out so far. */
  readonly counters: ChannelCounters;
  /** What became of the pages so far, on an engine that has a device. */
  readonly engineCounts: EngineCounts | undefined;
  /** Sets the method up. */
  setUp(): Promise<void>;
  /** Connects and sends everything, of which nothing waits for the destination or other channels. */
  start(): SendingRun;
  /** Drops the connection; what waits on it fails. */
  destroy(): void;
  /** Gives everything back. */
  close(): Promise<void>;
}

/** Sends zero pages on the main channel, for `legacy`. */
export type SendZeroPages = (block: string, offsets: Float64Array) => Promise<void>;

/** How long a lost channel waits for the destination to say why, in milliseconds. */
const FAREWELL_MS = 500;
/** Most answers of a destination; ours says PONG once a second while it works: a day of that. */
const MAX_ANSWERS = 86_400;
/** Bytes of the device state that are sent at once. */
const PIECE = 64 * 1024;
/** The PING whose PONG tells that the destination holds every page. */
const PING_ALL_PAGES = 2;

/** What a sender needs. */
export interface SenderOptions {
  /** The RAM. */
  source: RamSource;
  /** The compression method's name. */
  method: string;
  /** Its engine's name; `none` for none. */
  engine: string;
  /** Number of channels. */
  channels: number;
  /** How the destination expects syncs to be marked. */
  sync: SyncMode;
  /** Page size in bytes. */
  pageSize: number;
  /** Machine type. */
  machine: string;
  /** Opens the main channel. */
  openMain: (signal: AbortSignal) => Promise<Connection>;
  /** Makes a channel that takes its work from `work`. */
  makeChannel: (
    id: number,
    work: PageWork,
    sendZeroPages: SendZeroPages,
    signal: AbortSignal,
  ) => SenderChannel;
  /** The transport's name, for the report. */
  transport: string;
  /** Longest time without progress, in milliseconds; 0 for none. */
  timeout: number;
  /** The caller's way to cancel. */
  signal?: AbortSignal | undefined;
  /** Takes the events. */
  onEvent?: EventHandler | undefined;
}

/** Sends one image. */
export class Sender {
  readonly #options: SenderOptions;
  readonly #lifeline: Lifeline;
  readonly #channels: SenderChannel[] = [];
  readonly #work: PageWork;
  readonly #writer: MainChannelWriter;
  readonly #shut = Promise.withResolvers<number>();
  readonly #allHeld = Promise.withResolvers<void>();
  /** The section of RAM that zero pages on the main channel belong to is open. */
  readonly #partOpen = Promise.withResolvers<void>();
  #main: Connection | undefined;
  #stage = "the connections";
  #rounds = 0;
  #mainZeroPages = 0;
  #startedAt = 0;
  #setupAt = 0;
  #completeAt = 0;
  #mayShut = false;
  #isSent = false;
  #answers = 0;

  /** @param options Everything a sender is told. */
  constructor(options: SenderOptions) {
    this.#options = options;
    this.#writer = new MainChannelWriter(options.sync);
    this.#work = new PageWork(options.source.blocks);
    this.#lifeline = new Lifeline({
      signal: options.signal,
      timeout: options.timeout,
      activity: () => this.#activity(),
      waitingFor: () => this.#stage,
      onTick: () => this.#tellProgress(),
    });
    this.#shut.promise.catch(() => {});
    this.#allHeld.promise.catch(() => {});
  }

  /**
   * Sends the image and waits for the destination to say that it has it.
   *
   * @returns The migration's figures.
   * @throws {MultifdError} The first error.
   */
  async run(): Promise<MigrationInfo> {
    try {
      return await this.#lifeline.guard(this.#migrate());
    } catch (error) {
      for (const channel of this.#channels) channel.destroy();
      throw await this.#explain(error);
    } finally {
      this.#lifeline.close();
      await Promise.all(this.#channels.map((channel) => channel.close()));
      this.#main?.destroy();
    }
  }

  #activity(): number {
    let moved = this.#channels.length;
    for (const { counters } of this.#channels) moved += counters.bytes;
    // an answer is progress only where nothing is left to send
    if (this.#isSent) moved += this.#answers;
    return moved + (this.#main?.bytesWritten ?? 0);
  }

  /** Before anyone is connected to: a method that cannot be set up disturbs nobody. */
  async #setUpChannels(): Promise<void> {
    const { makeChannel, channels } = this.#options;
    const sendZeroPages = (block: string, offsets: Float64Array): Promise<void> =>
      this.#sendZeroPages(block, offsets);
    for (let id = 0; id < channels; id++) {
      this.#channels.push(makeChannel(id, this.#work, sendZeroPages, this.#lifeline.signal));
    }
    for (const [id, channel] of this.#channels.entries()) {
      try {
        await channel.setUp();
      } catch (error) {
        throw error instanceof MultifdError ? error.locate({ channel: id }) : error;
      }
    }
  }

  async #migrate(): Promise<MigrationInfo> {
    const { source } = this.#options;
    await this.#setUpChannels();
    this.#startedAt = performance.now();
    this.#options.onEvent?.({ type: "started" });
    const main = await this.#openMain();
    const runs = this.#channels.map((channel) => channel.start());
    const sent = Promise.all(runs.map((run) => run.sent));
    sent.catch((error) => this.#lifeline.fail(error));
    await this.#setUp(main, runs);
    this.#stage = "the destination to take pages";
    await sent;
    source.verifyUnchanged();
    const tail = source.deviceState ?? emptyVmTail();
    // at once: each piece that comes alone is a wait more for a destination
    let piece = joined([
      this.#writer.ramPartEnd(),
      this.#writer.ping(PING_ALL_PAGES),
      this.#writer.ramEnd(),
      tail.subarray(0, PIECE),
    ]);
    // over a slow link each is a sign of progress
    for (let at = PIECE; at < tail.length; at += PIECE) {
      await main.write(piece);
      piece = tail.subarray(at, at + PIECE);
    }
    // a quick destination answers before this thread has heard that the last bytes are out
    this.#mayShut = true;
    await main.write(piece);
    this.#endRound();
    this.#endRound();
    this.#isSent = true;
    this.#stage = "the destination to hold every page";
    await this.#allHeld.promise;
    this.#completeAt = performance.now();
    this.#options.onEvent?.({ type: "finishing" });
    this.#stage = "the destination's SHUT";
    const status = await this.#shut.promise;
    if (status !== 0) throw shutError(status);
    return this.#info();
  }

  /** QEMU reads the main channel's head at once, so it goes out at once; and before any channel. */
  async #openMain(): Promise<Connection> {
    const { openMain, machine, pageSize } = this.#options;
    const main = await openMain(this.#lifeline.signal);
    this.#main = main;
    this.#readReturnPath(main).catch((error) => {
      this.#shut.reject(error);
      this.#lifeline.fail(error);
    });
    await main.write(joined([
      this.#writer.head(machine, pageSize),
      this.#writer.openReturnPath(),
      this.#writer.ping(1),
    ]));
    return main;
  }

  /** A marker comes after the SYNCs that it is for. */
  async #setUp(main: Connection, runs: readonly SendingRun[]): Promise<void> {
    const { source, onEvent, pageSize } = this.#options;
    this.#stage = "the set-up sync";
    await Promise.all(runs.map((run) => run.begun));
    await main.write(joined([this.#writer.ramStart(source.blocks), this.#writer.ramPart()]));
    this.#partOpen.resolve();
    this.#endRound();
    this.#setupAt = performance.now();
    onEvent?.({
      type: "setup",
      channels: this.#channels.length,
      totalPages: this.#total() / pageSize,
    });
  }

  async #sendZeroPages(block: string, offsets: Float64Array): Promise<void> {
    await this.#partOpen.promise;
    this.#mainZeroPages += offsets.length;
    await this.#main!.write(this.#writer.zeroPages(block, offsets));
  }

  #endRound(): void {
    this.#rounds++;
    this.#options.onEvent?.({ type: "sync", round: this.#rounds });
  }

  async #readReturnPath(main: Connection): Promise<void> {
    const reader = new ReturnPathReader();
    for (;;) {
      const chunk = await main.readSome();
      if (chunk === undefined) {
        throw new PeerClosedError("Destination closed the main channel without SHUT", {
          channel: "main",
        });
      }
      for (const message of reader.push(chunk)) {
        if (++this.#answers > MAX_ANSWERS) {
          throw new ProtocolError("Destination answers again and again, and never says SHUT", {
            channel: "main",
            expected: `at most ${MAX_ANSWERS}`,
          });
        }
        if (message.type === "pong" && message.value === PING_ALL_PAGES) this.#allHeld.resolve();
        if (message.type !== "shut") continue;
        if (message.status !== 0) throw shutError(message.status);
        if (!this.#mayShut) {
          throw new ProtocolError("Destination says SHUT 0 before everything was sent", {
            channel: "main",
          });
        }
        // a destination that answers no PING holds every page now at the latest
        this.#allHeld.resolve();
        this.#shut.resolve(message.status);
        return;
      }
    }
  }

  /** A lost connection is a symptom: the destination's own word comes first, if it has one. */
  async #explain(error: unknown): Promise<unknown> {
    if (!(error instanceof PeerClosedError) || this.#main === undefined) return error;
    const said = this.#shut.promise.then(() => error, (reason) => reason);
    const silence = sleep(FAREWELL_MS, error, { ref: false });
    const reason = await Promise.race([said, silence]);
    return reason instanceof PeerClosedError ? error : reason;
  }

  #total(): number {
    return this.#options.source.blocks.reduce((sum, block) => sum + block.usedLength, 0);
  }

  #tellProgress(): void {
    if (this.#setupAt === 0 || this.#completeAt !== 0) return;
    const elapsed = performance.now() - this.#startedAt;
    this.#options.onEvent?.({ type: "progress", ...progressOf(this.#metrics(), elapsed) });
  }

  #ramInfo(): RamInfo {
    return ramInfo({
      totalTime: (this.#completeAt || performance.now()) - this.#startedAt,
      mainBytes: this.#main?.bytesWritten ?? 0,
      mainZeroPages: this.#mainZeroPages,
      mainNormalPages: 0,
      total: this.#total(),
      pageSize: this.#options.pageSize,
      rounds: this.#rounds,
      channels: this.#channels.map((channel): ChannelCounters => channel.counters),
    });
  }

  #metrics(): Metrics & { method: string; engine: string } {
    const { method, engine, transport } = this.#options;
    return {
      method,
      engine,
      transport,
      ram: this.#ramInfo(),
      perChannel: this.#channels.map((channel) => channel.counters),
      engineCounts: sumCounts(this.#channels.map((channel) => channel.engineCounts)),
    };
  }

  #info(): MigrationInfo {
    const { source, machine } = this.#options;
    return {
      ...this.#metrics(),
      status: "completed",
      totalTime: this.#completeAt - this.#startedAt,
      setupTime: this.#setupAt - this.#startedAt,
      finishTime: performance.now() - this.#completeAt,
      channels: this.#channels.length,
      machine,
      blocks: source.blocks.map((block) => ({ ...block, sha256: undefined, missing: 0 })),
    };
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new ByteWriter();
  for (const part of parts) bytes.raw(part);
  return bytes.done();
}

function shutError(status: number): PeerFailedError {
  return new PeerFailedError("Destination failed to take the migration, see its own message", {
    channel: "main",
    expected: "SHUT 0",
    received: `SHUT ${status}`,
  });
}
