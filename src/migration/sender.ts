/** The sending side of a migration: set-up, one pass over the RAM, syncs, the end. */
import { setTimeout as sleep } from "node:timers/promises";
import type { ChannelCounters } from "../channels/receiving_channel.ts";
import { SendingChannel } from "../channels/sending_channel.ts";
import type { Engine } from "../engines/engine.ts";
import { MultifdError, PeerClosedError, PeerFailedError, ProtocolError } from "../errors.ts";
import type { Method, MethodSender } from "../methods/method.ts";
import type { SyncMode } from "../protocol/main_channel.ts";
import { emptyVmTail, MainChannelWriter } from "../protocol/main_channel_writer.ts";
import { PACKET_SIZE } from "../protocol/ram_packet.ts";
import { ReturnPathReader } from "../protocol/return_path.ts";
import type { RamSource } from "../ram/target.ts";
import { isZeroPage } from "../ram/zero_page.ts";
import type { Connection } from "../transport/connection.ts";
import {
  type EventHandler,
  type MigrationInfo,
  progressOf,
  type RamInfo,
  ramInfo,
} from "./info.ts";
import { Lifeline } from "./lifeline.ts";
import { PageWork } from "./page_work.ts";

/** Where zero pages are looked for and travel, as QEMU's zero-page-detection. */
export type ZeroPages = "multifd" | "legacy" | "none";

/** How long a lost channel waits for the destination to say why, in milliseconds. */
const FAREWELL_MS = 500;
/** The PING whose PONG tells that the destination holds every page. */
const PING_ALL_PAGES = 2;

/** What a sender needs. */
export interface SenderOptions {
  /** The RAM. */
  source: RamSource;
  /** The compression method. */
  method: Method;
  /** Its engine; undefined for none. */
  engine: Engine | undefined;
  /** Compression level. */
  level: number;
  /** Whether uadk compresses. */
  uadkCompress: boolean;
  /** Number of channels. */
  channels: number;
  /** Where zero pages travel. */
  zeroPages: ZeroPages;
  /** How the destination expects syncs to be marked. */
  sync: SyncMode;
  /** Page size in bytes. */
  pageSize: number;
  /** Machine type. */
  machine: string;
  /** The guest's uuid, 16 bytes. */
  uuid: Uint8Array;
  /** Opens a connection. */
  connect: (name: string, signal: AbortSignal) => Promise<Connection>;
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
  readonly #connections: Connection[] = [];
  readonly #channels: SendingChannel[] = [];
  readonly #writer: MainChannelWriter;
  readonly #shut = Promise.withResolvers<number>();
  readonly #allHeld = Promise.withResolvers<void>();
  #main: Connection | undefined;
  #stage = "the connections";
  #packetNum = 0;
  #rounds = 0;
  #mainZeroPages = 0;
  #startedAt = 0;
  #setupAt = 0;
  #completeAt = 0;
  #isSent = false;

  /** @param options Everything a sender is told. */
  constructor(options: SenderOptions) {
    this.#options = options;
    this.#writer = new MainChannelWriter(options.sync);
    this.#lifeline = new Lifeline({
      signal: options.signal,
      timeout: options.timeout,
      activity: () =>
        this.#connections.reduce(
          (sum, { bytesRead, bytesWritten }) => sum + bytesRead + bytesWritten + 1,
          0,
        ),
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
    const senders = await this.#setUpMethod();
    try {
      return await this.#lifeline.guard(this.#migrate(senders));
    } catch (error) {
      throw await this.#explain(error);
    } finally {
      this.#lifeline.close();
      for (const connection of this.#connections) connection.destroy();
      for (const sender of senders) sender.cleanup();
    }
  }

  /** Before anyone is connected to: a method that cannot be set up disturbs nobody. */
  async #setUpMethod(): Promise<MethodSender[]> {
    const { method, channels } = this.#options;
    const senders: MethodSender[] = [];
    try {
      for (let id = 0; id < channels; id++) senders.push(await method.sendSetup(this.#options));
      return senders;
    } catch (error) {
      for (const sender of senders) sender.cleanup();
      this.#lifeline.close();
      throw error instanceof MultifdError ? error.locate({ channel: senders.length }) : error;
    }
  }

  async #migrate(senders: MethodSender[]): Promise<MigrationInfo> {
    const { source } = this.#options;
    this.#startedAt = performance.now();
    await this.#connect(senders);
    await this.#setUp();
    await this.#pass();
    source.verifyUnchanged();
    await this.#syncChannels();
    await this.#main!.write(this.#writer.ramEnd());
    await this.#main!.write(source.deviceState ?? emptyVmTail());
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

  /** QEMU reads the main channel's head and each greeting at once, so they go out at once. */
  async #connect(senders: MethodSender[]): Promise<void> {
    const { connect, machine, method, pageSize, uuid } = this.#options;
    const main = await connect("main channel", this.#lifeline.signal);
    this.#connections.push(main);
    this.#main = main;
    this.#readReturnPath(main).catch((error) => {
      this.#shut.reject(error);
      this.#lifeline.fail(error);
    });
    await main.write(this.#writer.head(machine, pageSize));
    for (const [id, sender] of senders.entries()) {
      const connection = await connect(`channel ${id}`, this.#lifeline.signal);
      this.#connections.push(connection);
      const channel = new SendingChannel(id, connection, method, sender, pageSize);
      this.#channels.push(channel);
      await channel.greet(uuid);
    }
  }

  async #setUp(): Promise<void> {
    const { source, onEvent, pageSize } = this.#options;
    const main = this.#main!;
    this.#stage = "the set-up sync";
    await main.write(this.#writer.openReturnPath());
    await main.write(this.#writer.ping(1));
    await this.#syncChannels();
    await main.write(this.#writer.ramStart(source.blocks));
    this.#setupAt = performance.now();
    onEvent?.({
      type: "setup",
      channels: this.#channels.length,
      totalPages: this.#total() / pageSize,
    });
  }

  async #pass(): Promise<void> {
    const main = this.#main!;
    this.#stage = "the destination to take pages";
    await main.write(this.#writer.ramPart());
    const work = new PageWork(this.#options.source.blocks);
    await Promise.all(this.#channels.map((channel) => this.#sendRuns(channel, work)));
    await this.#syncChannels();
    await main.write(this.#writer.ramPartEnd());
    await main.write(this.#writer.ping(PING_ALL_PAGES));
  }

  async #sendRuns(channel: SendingChannel, work: PageWork): Promise<void> {
    const { source, pageSize, zeroPages } = this.#options;
    const buffer = new Uint8Array(PACKET_SIZE);
    for (let run = work.next(); run !== undefined; run = work.next()) {
      const pages = buffer.subarray(0, run.length);
      source.read(run.block, run.offset, pages);
      const block = source.blocks[run.block]!.name;
      const sorted = sortPages(pages, run.offset, pageSize, zeroPages !== "none");
      let { offsets } = sorted;
      if (zeroPages === "legacy") {
        const zeros = offsets.subarray(sorted.normalPages);
        await this.#sendZeroPages(block, zeros);
        offsets = offsets.subarray(0, sorted.normalPages);
      }
      if (offsets.length === 0) continue;
      const normal = pages.subarray(0, sorted.normalPages * pageSize);
      await channel.sendPages(this.#packetNum++, block, offsets, normal);
    }
  }

  async #sendZeroPages(block: string, offsets: Float64Array): Promise<void> {
    if (offsets.length === 0) return;
    this.#mainZeroPages += offsets.length;
    await this.#main!.write(this.#writer.zeroPages(block, offsets));
  }

  async #syncChannels(): Promise<void> {
    this.#rounds++;
    await Promise.all(this.#channels.map((channel) => channel.sync(this.#packetNum++)));
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
        if (message.type === "pong" && message.value === PING_ALL_PAGES) this.#allHeld.resolve();
        if (message.type !== "shut") continue;
        if (message.status !== 0) throw shutError(message.status);
        if (!this.#isSent) {
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
    this.#options.onEvent?.({ type: "progress", ...progressOf(this.#ramInfo(), elapsed) });
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

  #info(): MigrationInfo {
    const { source, method, engine, transport, machine } = this.#options;
    return {
      status: "completed",
      totalTime: this.#completeAt - this.#startedAt,
      setupTime: this.#setupAt - this.#startedAt,
      finishTime: performance.now() - this.#completeAt,
      method: method.name,
      engine: engine?.name ?? "none",
      transport,
      channels: this.#channels.length,
      machine,
      ram: this.#ramInfo(),
      blocks: source.blocks.map((block) => ({ ...block, sha256: undefined, missing: 0 })),
      perChannel: this.#channels.map((channel) => channel.counters),
    };
  }
}

function shutError(status: number): PeerFailedError {
  return new PeerFailedError("Destination failed to take the migration, see its own message", {
    channel: "main",
    expected: "SHUT 0",
    received: `SHUT ${status}`,
  });
}

/** Moves normal pages to the front, in order; offsets come normal first, then zero. */
function sortPages(
  pages: Uint8Array,
  start: number,
  pageSize: number,
  detect: boolean,
): { offsets: Float64Array; normalPages: number } {
  const count = pages.length / pageSize;
  const offsets = new Float64Array(count);
  let normalPages = 0;
  let zeros = 0;
  for (let i = 0; i < count; i++) {
    const at = i * pageSize;
    if (detect && isZeroPage(pages.subarray(at, at + pageSize))) {
      offsets[count - ++zeros] = start + at;
      continue;
    }
    if (normalPages !== i) pages.copyWithin(normalPages * pageSize, at, at + pageSize);
    offsets[normalPages++] = start + at;
  }
  return { offsets, normalPages };
}
