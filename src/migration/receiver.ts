/**
 * The receiving side of a migration, whatever its connections come from: a
 * listener, or files of a recording.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Identity } from "../channels/identify.ts";
import { ReceiveSession } from "../channels/receive_session.ts";
import { ReceivingChannels } from "../channels/receiving_channels.ts";
import { ProtocolError, UnsupportedError } from "../errors.ts";
import type { MainChannelEvent } from "../protocol/main_channel_event.ts";
import { MainChannelReader } from "../protocol/main_channel_reader.ts";
import type { VmTail } from "../protocol/vm_tail.ts";
import { GuestRam } from "../ram/guest_ram.ts";
import { formatUuid } from "../ram/manifest.ts";
import type { FinishedBlock } from "../ram/target.ts";
import type { Connection } from "../transport/connection.ts";
import { PolledConnection } from "../transport/native.ts";
import { Arrivals, mostArrivals } from "./arrivals.ts";
import { type Metrics, progressOf, type RamInfo, ramInfo, type Received } from "./info.ts";
import { Lifeline } from "./lifeline.ts";
import { DEFAULT_MAX_CHANNELS } from "./options.ts";
import type { ReceiverOptions } from "./receiver_options.ts";
import { Rounds } from "./rounds.ts";
import { SourceAnswers } from "./source_answers.ts";

/**
 * How long the disk rests before what came meanwhile is written back, in milliseconds. Against
 * a first sync at the end, 1 GiB over loopback took as long and was on disk 360 ms sooner.
 */
const WRITE_BACK_MS = 50;
/** Pages on the main channel, and bytes behind the RAM, that count as progress: a packet's worth. */
const [PROGRESS_PAGES, PROGRESS_BYTES] = [128, 64 * 1024] as const;
/**
 * How long a source is left to open its connections before they are dropped, in milliseconds: QEMU
 * 7.2 and 10.0, dropped in the middle of that, may wait for ever, and their monitor with them.
 */
const SETTLE_MS = 250;
/** How long a channel may take to see that nothing comes any more, in milliseconds. */
const QUIET_MS = 1000;

/** Receives one migration. Connections are handed in with {@linkcode Receiver.add}. */
export class Receiver {
  readonly #options: ReceiverOptions;
  readonly #lifeline: Lifeline;
  readonly #connections = new Set<Connection>();
  readonly #arrivals: Arrivals;
  readonly #session: ReceiveSession;
  readonly #channels: ReceivingChannels;
  readonly #rounds = new Rounds();
  readonly #answers = new SourceAnswers();
  readonly #reader: MainChannelReader;
  readonly #done = Promise.withResolvers<Received>();
  #main: Connection | undefined;
  #isOver = false;
  /** Steps of the set-up: connections that have said what they are, the head, the blocks. */
  #steps = 0;
  #machine = "";
  #sync = "";
  #mainZeroPages = 0;
  #mainNormalPages = 0;
  #missing = new Map<string, number>();
  #startedAt = 0;
  #setupAt = 0;
  #completeAt = 0;
  #writeBack: ReturnType<typeof setInterval> | undefined;
  #writtenBack = 0;
  /** Packets up to the last marker; none may follow once RAM is over. */
  #begun: number[] = [];
  /** Whether the image is durable, after which nothing can fail it. */
  #isKept = false;

  /** @param options Everything a receiver is told. */
  constructor(options: ReceiverOptions) {
    this.#options = options;
    this.#reader = new MainChannelReader({ maxRam: options.maxRam });
    this.#session = new ReceiveSession(options);
    const { target, channels: expected, maxChannels: most = DEFAULT_MAX_CHANNELS } = options;
    this.#channels = new ReceivingChannels({ session: this.#session, target, expected, most });
    this.#arrivals = new Arrivals({
      limit: mostArrivals(expected ?? most),
      timeout: options.timeout,
      hasMain: () => this.#main !== undefined,
      warn: (message) => options.onEvent?.({ type: "warning", message }),
    });
    this.#lifeline = new Lifeline({
      signal: options.signal,
      timeout: options.acceptTimeout ?? options.timeout,
      activity: () => this.#progress(),
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
      if (this.#options.isNative) this.#channels.startWorkers();
      return await this.#lifeline.guard(this.#done.promise);
    } catch (error) {
      if (this.#isKept) return await this.#done.promise;
      this.#session.fail(error as Error);
      if (this.#isSettingUp(error)) await sleep(SETTLE_MS);
      for (const connection of this.#connections) {
        if (connection !== this.#main) connection.destroy(error as Error);
      }
      await this.#answers.failed();
      this.#discard();
      throw error;
    } finally {
      clearInterval(this.#writeBack);
      this.#lifeline.close();
      // who comes while the channels end comes too late
      this.#isOver = true;
      const connections = [...this.#connections];
      this.#connections.clear();
      for (const connection of connections) connection.destroy();
      this.#options.stopWatching?.();
      await this.#channels.stop();
    }
  }

  /** Whether a source that did something wrong may still be opening its connections. */
  #isSettingUp(error: unknown): boolean {
    const isItsFault = error instanceof ProtocolError || error instanceof UnsupportedError;
    return isItsFault && this.#main !== undefined && this.#setupAt === 0 &&
      this.#options.isPlayback !== true;
  }

  /** A failure to clean up hides no failure of the migration. */
  #discard(): void {
    try {
      this.#options.target.discard();
    } catch (error) {
      this.#options.onEvent?.({ type: "warning", message: (error as Error).message });
    }
  }

  /** Takes a connection. What it is, its first four bytes tell. */
  add(connection: Connection): void {
    if (this.#isOver) return connection.destroy();
    const fail = (error: unknown): void => this.#lifeline.fail(error);
    const arrivedAt = performance.now();
    this.#connections.add(connection);
    this.#arrivals.take(connection, (identity) => {
      this.#serve(connection, identity, arrivedAt).catch(fail);
    }).catch(fail);
  }

  /** Waits in a channel's thread until somebody connects to a listening socket. */
  watch(socket: number, begin: () => boolean): Promise<void> {
    return this.#channels.watch(socket, begin);
  }

  /** Tells of a connection that came to nothing before it got here. */
  ignore(error: Error): void {
    this.#arrivals.ignore(error.message);
  }

  /** Ends the migration with an error from outside, e.g. the listener's. */
  fail(error: unknown): void {
    this.#lifeline.fail(error);
  }

  /** Changes with whole packets and steps: a peer that sends a byte a second makes no progress. */
  #progress(): number {
    let pages = Math.floor((this.#mainZeroPages + this.#mainNormalPages) / PROGRESS_PAGES);
    for (const { normalPages, zeroPages } of this.#channels.counters) {
      pages += normalPages + zeroPages;
    }
    const tail = this.#session.isOver ? Math.floor(this.#main!.bytesRead / PROGRESS_BYTES) : 0;
    return this.#steps + pages + tail;
  }

  #waitingFor(): string {
    const { size, moving } = this.#channels;
    const wanted = this.#options.channels === undefined ? "" : ` of ${this.#options.channels}`;
    const channels = `${size}${wanted} channels are connected`;
    if (this.#main === undefined) return `the main channel; ${channels}`;
    if (this.#setupAt === 0 || moving.length === 0) {
      return `${this.#reader.expecting} on the main channel; ${channels}`;
    }
    return `channels ${moving.join(", ")} or ${this.#reader.expecting} on the main channel`;
  }

  #tellProgress(): void {
    if (this.#session.ram === undefined || this.#session.isOver) return;
    const elapsed = performance.now() - this.#startedAt;
    this.#options.onEvent?.({ type: "progress", ...progressOf(this.#metrics(), elapsed) });
  }

  async #serve(connection: Connection, identity: Identity, arrivedAt: number): Promise<void> {
    if (identity.type === "stranger") {
      if (this.#options.isPlayback) throw identity.error;
      connection.destroy();
      // at the end of the migration it has been dropped with all others
      if (this.#connections.delete(connection)) this.ignore(identity.error);
      return;
    }
    this.#onStep(arrivedAt);
    if (identity.type === "main") {
      if (this.#main !== undefined) throw new ProtocolError("Peer opened a second main channel");
      this.#main = connection;
      connection.name = "main channel";
      if (connection instanceof PolledConnection) this.#session.onSync = () => connection.poke();
      this.#options.onIdentified?.(connection, "main");
      await this.#runMain(connection, identity.start);
    } else {
      const run = this.#channels.start(connection, identity.greeting);
      this.#options.onIdentified?.(connection, `ch${identity.greeting.id}`);
      await run;
    }
  }

  /** The set-up is a step further; the first connection that is no stranger's began it. */
  #onStep(at = 0): void {
    if (this.#steps++ > 0) return;
    this.#startedAt = at;
    this.#lifeline.timeout = this.#options.timeout;
    this.#options.onEvent?.({ type: "started" });
  }

  async #runMain(connection: Connection, start: Uint8Array): Promise<void> {
    let chunk: Uint8Array | undefined = start;
    for (;;) {
      if (chunk === undefined) this.#reader.end();
      for (const event of this.#reader.push(chunk!)) {
        this.#lifeline.signal.throwIfAborted();
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
        this.#onStep();
        this.#machine = event.machine;
        if (event.uuid !== undefined) this.#session.agreeUuid(event.uuid, "main");
        this.#session.setPageSize(event.pageSize ?? 4096);
        return;
      case "return-path":
        this.#answers.open(connection);
        return;
      case "ping":
        return this.#answers.ping(event.value);
      case "blocks":
        return this.#makeRam(event.blocks);
      case "zero":
        this.#mainZeroPages++;
        this.#session.ram!.zeroPages(event.block, Float64Array.of(event.offset));
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
    this.#onStep();
    const pageSize = await this.#session.pageSize;
    const { target } = this.#options;
    const { signal } = this.#lifeline;
    signal.throwIfAborted();
    target.create(blocks, pageSize);
    this.#session.ram = new GuestRam(blocks, pageSize, {
      // a target that was given up is the caller's again
      write(block, offsets, pages) {
        signal.throwIfAborted();
        target.write(block, offsets, pages);
      },
    });
    this.#writeBack = setInterval(() => this.#startWriteBack(), WRITE_BACK_MS);
  }

  /** A guest stands still while the end is synced: little may be left to do by then. */
  #startWriteBack(): void {
    const progress = this.#progress();
    if (progress === this.#writtenBack) return;
    this.#writtenBack = progress;
    this.#options.target.writeBack?.().catch((error) => this.#lifeline.fail(error));
  }

  async #onMarker(mode: string, isEnd: boolean): Promise<void> {
    this.#sync = mode;
    if (this.#setupAt === 0) await this.#channels.allHere(() => this.#allIdentified());
    await this.#session.barrier.allStopped(this.#channels.size);
    this.#rounds.end(this.#ramInfo());
    this.#begun = this.#session.state.begun;
    this.#session.isEnding = isEnd;
    if (this.#setupAt === 0) {
      this.#onStep();
      this.#setupAt = performance.now();
      const totalPages = this.#session.ram!.total / this.#session.ram!.pageSize;
      this.#options.onEvent?.({ type: "setup", channels: this.#channels.size, totalPages });
    }
    this.#session.barrier.release();
    this.#options.onEvent?.({ type: "sync", round: this.#rounds.count });
  }

  async #allIdentified(): Promise<void> {
    await this.#options.drain();
    await this.#arrivals.settled();
  }

  #onRamEnd(): void {
    this.#session.state.setOver();
    this.#checkNothingBegun();
    clearInterval(this.#writeBack);
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
    const { uuid, packetNumbers } = this.#session;
    const ram = this.#session.ram!;
    const info = this.#ramInfo();
    const { method = "none", engine = "none" } = this.#metrics();
    const vm = {
      machine: this.#machine,
      uuid,
      pageSize: ram.pageSize,
      tail,
      counters: {
        method,
        channels: this.#channels.size,
        sync: this.#sync,
        "dirty-sync-count": this.#rounds.count,
        normal: info.normal,
        duplicate: info.duplicate,
        "repeated-pages": ram.repeated,
        transferred: info.transferred,
        rounds: this.#rounds.list,
      },
      source: this.#options.source,
    };
    const arrived = [...ram.blocks.values()].map(({ name, usedLength }): FinishedBlock => ({
      name,
      usedLength,
      sha256: undefined,
      missing: this.#missing.get(name) ?? 0,
    }));
    const blocks = await this.#answers.whileAlive(this.#options.target.finish(vm, arrived));
    await Promise.race([this.#channels.quiet(), sleep(QUIET_MS, undefined, { ref: false })]);
    this.#checkNothingBegun();
    // the source has heard of a failure that came first
    this.#lifeline.signal.throwIfAborted();
    this.#isKept = true;
    const finishTime = performance.now() - this.#completeAt;
    await this.#answers.done();
    this.#done.resolve({
      status: "completed",
      totalTime: this.#completeAt - this.#startedAt,
      setupTime: this.#setupAt - this.#startedAt,
      finishTime,
      ...this.#metrics(),
      method,
      engine,
      ram: info,
      channels: this.#channels.size,
      machine: this.#machine,
      blocks,
      uuid: formatUuid(uuid),
      tail,
      sync: this.#sync,
      rounds: this.#rounds.list,
      repeatedPages: ram.repeated,
      lenientPacketNumbers: packetNumbers.isLenient,
    });
  }

  #checkNothingBegun(): void {
    const channel = this.#session.state.begun.findIndex((count, id) => count !== this.#begun[id]);
    if (channel >= 0) throw new ProtocolError("Packet comes after the last SYNC", { channel });
  }

  /** Plays every connection to its end. */
  async #playOut(connection: Connection): Promise<void> {
    const more = await connection.readSome();
    if (more !== undefined) this.#reader.push(more).next();
    await this.#channels.ended();
  }

  #metrics(): Metrics {
    const { agreed } = this.#session;
    return {
      method: agreed?.method.name,
      engine: agreed && (agreed.engine?.name ?? "none"),
      transport: this.#options.transport,
      ram: this.#ramInfo(),
      perChannel: this.#channels.counters,
      engineCounts: this.#channels.engineCounts,
    };
  }

  #ramInfo(): RamInfo {
    return ramInfo({
      totalTime: (this.#completeAt || performance.now()) - this.#startedAt,
      mainBytes: this.#main?.bytesRead ?? 0,
      mainZeroPages: this.#mainZeroPages,
      mainNormalPages: this.#mainNormalPages,
      total: this.#session.ram!.total,
      pageSize: this.#session.ram!.pageSize,
      rounds: this.#rounds.count,
      channels: this.#channels.counters,
    });
  }
}
