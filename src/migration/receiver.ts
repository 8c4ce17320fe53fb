/**
 * The receiving side of a migration, whatever its connections come from: a
 * listener, or files of a recording.
 */
import { ReceivingChannelInWorker } from "../channels/channel_in_worker.ts";
import { ChannelWorker } from "../channels/channel_worker.ts";
import type { ChannelCounters } from "../channels/counters.ts";
import { identify } from "../channels/identify.ts";
import { ReceiveSession, type ReceiveSessionOptions } from "../channels/receive_session.ts";
import { ReceivingChannel } from "../channels/receiving_channel.ts";
import { ProtocolError } from "../errors.ts";
import type { Greeting } from "../protocol/greeting.ts";
import type { MainChannelEvent } from "../protocol/main_channel_event.ts";
import { MainChannelReader } from "../protocol/main_channel_reader.ts";
import type { VmTail } from "../protocol/vm_tail.ts";
import { sumCounts } from "../engines/engine.ts";
import { GuestRam } from "../ram/guest_ram.ts";
import { formatUuid } from "../ram/manifest.ts";
import type { FinishedBlock, RamTarget } from "../ram/target.ts";
import type { ReceiveMessage } from "../channels/worker_messages.ts";
import type { Connection } from "../transport/connection.ts";
import { PolledConnection } from "../transport/native.ts";
import {
  type EventHandler,
  type MigrationInfo,
  progressOf,
  type RamInfo,
  ramInfo,
} from "./info.ts";
import { Lifeline } from "./lifeline.ts";
import { SourceAnswers } from "./source_answers.ts";

/** How many channels are expected where nobody told: QEMU's default. */
const DEFAULT_CHANNELS = 2;

/** What a receiver needs. */
export interface ReceiverOptions extends ReceiveSessionOptions {
  /** Where the RAM goes. */
  target: RamTarget;
  /** How many channels will come; undefined finds out. */
  channels?: number | undefined;
  /** Most bytes of RAM. */
  maxRam?: number | undefined;
  /** Takes pages that never arrive as zero. */
  missingAsZero?: boolean | undefined;
  /** Longest time without progress, in milliseconds; 0 for none. */
  timeout: number;
  /** Longest time until the first connection; `timeout` if undefined. */
  acceptTimeout?: number | undefined;
  /** Whether each channel gets a worker; its connections are then native ones. */
  isNative?: boolean | undefined;
  /** The transport's name, for the report. */
  transport: string;
  /** The caller's way to cancel. */
  signal?: AbortSignal | undefined;
  /** Takes the events. */
  onEvent?: EventHandler | undefined;
  /** Returns when no connection waits to be accepted any more. */
  drain: () => Promise<void>;
  /** Whether the connections play a recording, which must hold nothing more than a migration. */
  isPlayback?: boolean | undefined;
  /** Told what a connection turned out to be: `main` or `ch<id>`. */
  onIdentified?: ((connection: Connection, name: string) => void) | undefined;
}

/** What was received. */
export interface Received extends MigrationInfo {
  /** The guest's uuid. */
  uuid: string;
  /** What followed RAM's END. */
  tail: VmTail;
  /** How the main channel marked syncs. */
  sync: string;
  /** Pages that arrived more than once. */
  repeatedPages: number;
  /** Whether packet_num was allowed to have gaps (QEMU 7.2 and 8). */
  lenientPacketNumbers: boolean;
}

/** Receives one migration. Connections are handed in with {@linkcode Receiver.add}. */
export class Receiver {
  readonly #options: ReceiverOptions;
  readonly #lifeline: Lifeline;
  readonly #connections = new Set<Connection>();
  readonly #identifying = new Set<Promise<void>>();
  readonly #channels = new Map<number, ReceivingChannel | ReceivingChannelInWorker>();
  readonly #spareWorkers: ChannelWorker<ReceiveMessage>[] = [];
  readonly #channelRuns: Promise<void>[] = [];
  readonly #session: ReceiveSession;
  readonly #answers = new SourceAnswers();
  readonly #reader: MainChannelReader;
  readonly #done = Promise.withResolvers<Received>();
  #channelJoined: () => void = () => {};
  #channelCount: number | undefined;
  #main: Connection | undefined;
  #machine = "";
  #sync = "";
  #rounds = 0;
  #mainZeroPages = 0;
  #mainNormalPages = 0;
  #missing = new Map<string, number>();
  #startedAt = 0;
  #setupAt = 0;
  #completeAt = 0;
  /** Whether the image is durable, after which nothing can fail it. */
  #isKept = false;

  /** @param options Everything a receiver is told. */
  constructor(options: ReceiverOptions) {
    this.#options = options;
    this.#channelCount = options.channels;
    this.#reader = new MainChannelReader({ maxRam: options.maxRam });
    this.#session = new ReceiveSession(options);
    this.#lifeline = new Lifeline({
      signal: options.signal,
      timeout: options.acceptTimeout ?? options.timeout,
      activity: () => this.#activity(),
      waitingFor: () => this.#waitingFor(),
      onTick: () => this.#tellProgress(),
    });
  }

  /**
   * Waits for the migration's end, and leaves nothing behind whatever that is.
   *
   * @returns What was received, complete and verified.
   * @throws {MultifdError} The first error.
   */
  async run(): Promise<Received> {
    try {
      this.#startSpareWorkers();
      return await this.#lifeline.guard(this.#done.promise);
    } catch (error) {
      if (this.#isKept) return await this.#done.promise;
      this.#session.fail(error as Error);
      for (const connection of this.#connections) {
        if (connection !== this.#main) connection.destroy(error as Error);
      }
      await this.#answers.failed();
      this.#options.target.discard();
      throw error;
    } finally {
      this.#lifeline.close();
      for (const connection of this.#connections) connection.destroy();
      await Promise.all(this.#spareWorkers.map((worker) => worker.stop()));
      await Promise.allSettled(this.#channelRuns);
    }
  }

  /** Before anyone connects: a thread takes longer to start than a connection. */
  #startSpareWorkers(): void {
    const { isNative, channels } = this.#options;
    const spares = isNative ? channels ?? DEFAULT_CHANNELS : 0;
    for (let i = 0; i < spares; i++) this.#spareWorkers.push(new ChannelWorker());
  }

  /** Takes a connection. What it is, its first four bytes tell. */
  add(connection: Connection): void {
    if (this.#startedAt === 0) {
      this.#startedAt = performance.now();
      this.#lifeline.timeout = this.#options.timeout;
    }
    this.#connections.add(connection);
    const identified = Promise.withResolvers<void>();
    this.#identifying.add(identified.promise);
    this.#serve(connection, () => {
      this.#identifying.delete(identified.promise);
      identified.resolve();
    }).catch((error) => this.#lifeline.fail(error));
  }

  /** Ends the migration with an error from outside, e.g. the listener's. */
  fail(error: unknown): void {
    this.#lifeline.fail(error);
  }

  #activity(): number {
    let moved = 0;
    for (const connection of this.#connections) {
      moved += connection.bytesRead + connection.bytesWritten + 1;
    }
    for (const { counters } of this.#channels.values()) moved += counters.bytes;
    return moved;
  }

  #waitingFor(): string {
    const wanted = this.#channelCount === undefined ? "" : ` of ${this.#channelCount}`;
    const channels = `${this.#channels.size}${wanted} channels are connected`;
    if (this.#main === undefined) return `the main channel; ${channels}`;
    const stopped = this.#session.barrier.stopped;
    const late = [...this.#channels.keys()].filter((id) => !stopped.includes(id));
    if (this.#setupAt === 0 || late.length === 0) {
      return `${this.#reader.expecting} on the main channel; ${channels}`;
    }
    return `channels ${late.join(", ")} or ${this.#reader.expecting} on the main channel`;
  }

  #tellProgress(): void {
    if (this.#session.ram === undefined || this.#session.isOver) return;
    const elapsed = performance.now() - this.#startedAt;
    this.#options.onEvent?.({ type: "progress", ...progressOf(this.#ramInfo(), elapsed) });
  }

  async #serve(connection: Connection, onIdentified: () => void): Promise<void> {
    const identity = await identify(connection);
    if (identity.type === "silent") {
      onIdentified();
      this.#connections.delete(connection);
      connection.destroy();
      const message = `${connection.name} was closed before it said anything, ignored`;
      this.#options.onEvent?.({ type: "warning", message });
    } else if (identity.type === "main") {
      if (this.#main !== undefined) throw new ProtocolError("Peer opened a second main channel");
      this.#main = connection;
      connection.name = "main channel";
      if (connection instanceof PolledConnection) this.#session.onSync = () => connection.poke();
      this.#options.onIdentified?.(connection, "main");
      onIdentified();
      await this.#runMain(connection, identity.start);
    } else {
      const channel = this.#addChannel(connection, identity.greeting);
      onIdentified();
      const run = channel.run();
      this.#channelRuns.push(run);
      this.#channelJoined();
      await run;
    }
  }

  #addChannel(
    connection: Connection,
    { id, uuid }: Greeting,
  ): ReceivingChannel | ReceivingChannelInWorker {
    if (this.#setupAt !== 0) {
      throw new ProtocolError(
        `Channel arrived after set-up with ${this.#channels.size} channels (tell with --channels)`,
        { channel: id },
      );
    }
    if (this.#channelCount !== undefined && id >= this.#channelCount) {
      throw new ProtocolError("Channel has too high an id (see --channels)", {
        channel: id,
        expected: `an id below ${this.#channelCount}`,
        received: id,
      });
    }
    if (this.#channels.has(id)) {
      throw new ProtocolError("Channel's id is already connected", { channel: id });
    }
    this.#session.agreeUuid(uuid, id);
    connection.name = `channel ${id}`;
    const channel = connection instanceof PolledConnection
      ? new ReceivingChannelInWorker(
        id,
        connection,
        this.#session,
        this.#options.target,
        this.#spareWorkers.shift() ?? new ChannelWorker(),
      )
      : new ReceivingChannel(id, connection, this.#session);
    this.#channels.set(id, channel);
    this.#options.onIdentified?.(connection, `ch${id}`);
    return channel;
  }

  async #runMain(connection: Connection, start: Uint8Array): Promise<void> {
    let chunk: Uint8Array | undefined = start;
    for (;;) {
      if (chunk === undefined) this.#reader.end();
      for (const event of this.#reader.push(chunk!)) {
        if (event.type === "end") return await this.#finish(connection, event.tail);
        const done = this.#onMainEvent(connection, event);
        if (done !== undefined) await done;
      }
      chunk = await connection.readSome();
    }
  }

  #onMainEvent(connection: Connection, event: MainChannelEvent): Promise<void> | undefined {
    switch (event.type) {
      case "configuration":
        this.#machine = event.machine;
        if (event.uuid !== undefined) this.#session.agreeUuid(event.uuid, "main");
        this.#session.setPageSize(event.pageSize ?? 4096);
        return;
      case "return-path":
        this.#answers.open(connection);
        return;
      case "ping":
        return this.#answers.pong(event.value);
      case "blocks":
        return this.#makeRam(event.blocks);
      case "zero":
        this.#mainZeroPages++;
        this.#session.ram!.zeroPages(event.block, [event.offset]);
        return;
      case "page":
        this.#mainNormalPages++;
        this.#session.ram!.writePages(event.block, new Float64Array([event.offset]), event.data);
        return;
      case "sync":
        return this.#onMarker(event.mode, event.section === "end");
      case "ram-end":
        this.#onRamEnd();
        return;
    }
  }

  async #makeRam(blocks: ConstructorParameters<typeof GuestRam>[0]): Promise<void> {
    const pageSize = await this.#session.pageSize;
    this.#options.target.create(blocks, pageSize);
    this.#session.ram = new GuestRam(blocks, pageSize, this.#options.target);
  }

  async #onMarker(mode: string, isEnd: boolean): Promise<void> {
    this.#sync = mode;
    if (this.#setupAt === 0) await this.#fixChannels();
    await this.#session.barrier.allStopped(this.#channels.size);
    this.#rounds++;
    this.#session.isEnding = isEnd;
    if (this.#setupAt === 0) {
      this.#setupAt = performance.now();
      const totalPages = this.#session.ram!.total / this.#session.ram!.pageSize;
      this.#options.onEvent?.({ type: "setup", channels: this.#channels.size, totalPages });
    }
    this.#session.barrier.release();
    this.#options.onEvent?.({ type: "sync", round: this.#rounds });
  }

  /** At the first marker every channel has been opened: now their number is known. */
  async #fixChannels(): Promise<void> {
    const told = this.#channelCount;
    if (told === undefined) {
      await this.#options.drain();
      while (this.#identifying.size > 0) await Promise.all(this.#identifying);
    } else {
      while (this.#channels.size < told) {
        await new Promise<void>((resolve) => this.#channelJoined = resolve);
      }
    }
    const count = this.#channels.size;
    if (count === 0) {
      throw new ProtocolError("Peer opened no multifd channels: is multifd on at the source?");
    }
    for (let id = 0; id < count; id++) {
      if (this.#channels.has(id)) continue;
      throw new ProtocolError("Channel is missing at the first sync (tell with --channels)", {
        channel: id,
        expected: "ids without gaps from 0",
        received: [...this.#channels.keys()].sort((a, b) => a - b).join(", "),
      });
    }
    this.#channelCount = count;
  }

  #onRamEnd(): void {
    this.#session.state.setOver();
    this.#completeAt = performance.now();
    this.#missing = this.#session.ram!.missing();
    if (this.#missing.size > 0 && this.#options.missingAsZero !== true) {
      const list = [...this.#missing].map(([name, count]) => `${count} of "${name}"`).join(", ");
      throw new ProtocolError(`Pages never arrived: ${list} (--missing zero takes them as zero)`);
    }
    const { gap, isLenient } = this.#session.packetNumbers;
    if (gap !== undefined && !isLenient) {
      throw new ProtocolError("Packet never arrived: packet_num has a gap", { expected: gap });
    }
    this.#options.onEvent?.({ type: "finishing" });
  }

  /** Everything is in: make it durable, and only then say so. */
  async #finish(connection: Connection, tail: VmTail): Promise<void> {
    this.#lifeline.timeout = 0;
    if (this.#options.isPlayback) await this.#playOut(connection);
    const { agreed, uuid, packetNumbers } = this.#session;
    const ram = this.#session.ram!;
    const method = agreed?.method.name ?? "none";
    const info = this.#ramInfo();
    const vm = {
      machine: this.#machine,
      uuid,
      pageSize: ram.pageSize,
      tail,
      counters: {
        method,
        channels: this.#channels.size,
        "dirty-sync-count": this.#rounds,
        normal: info.normal,
        duplicate: info.duplicate,
        transferred: info.transferred,
      },
    };
    const arrived = [...ram.blocks.values()].map(({ name, usedLength }): FinishedBlock => ({
      name,
      usedLength,
      sha256: undefined,
      missing: this.#missing.get(name) ?? 0,
    }));
    const blocks = await this.#answers.whileAlive(this.#options.target.finish(vm, arrived));
    this.#isKept = true;
    const finishTime = performance.now() - this.#completeAt;
    await this.#answers.done();
    this.#done.resolve({
      status: "completed",
      totalTime: this.#completeAt - this.#startedAt,
      setupTime: this.#setupAt - this.#startedAt,
      finishTime,
      method,
      engine: agreed?.engine?.name ?? "none",
      transport: this.#options.transport,
      channels: this.#channels.size,
      machine: this.#machine,
      ram: info,
      blocks,
      perChannel: this.#counters(),
      engineCounts: sumCounts([...this.#channels.values()].map((channel) => channel.engineCounts)),
      uuid: formatUuid(uuid),
      tail,
      sync: this.#sync,
      repeatedPages: ram.repeated,
      lenientPacketNumbers: packetNumbers.isLenient,
    });
  }

  /** Plays every connection to its end. */
  async #playOut(connection: Connection): Promise<void> {
    const more = await connection.readSome();
    if (more !== undefined) this.#reader.push(more).next();
    await Promise.all(this.#channelRuns);
  }

  #counters(): ChannelCounters[] {
    return [...this.#channels.values()].map((channel) => channel.counters)
      .sort((a, b) => a.id - b.id);
  }

  #ramInfo(): RamInfo {
    return ramInfo({
      totalTime: (this.#completeAt || performance.now()) - this.#startedAt,
      mainBytes: this.#main?.bytesRead ?? 0,
      mainZeroPages: this.#mainZeroPages,
      mainNormalPages: this.#mainNormalPages,
      total: this.#session.ram!.total,
      pageSize: this.#session.ram!.pageSize,
      rounds: this.#rounds,
      channels: this.#counters(),
    });
  }
}
