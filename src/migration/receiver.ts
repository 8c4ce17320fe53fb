/**
 * The receiving side of a migration, whatever its connections come from: a
 * listener, or files of a recording.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { identify } from "../channels/identify.ts";
import { ReceiveSession } from "../channels/receive_session.ts";
import { ReceivingChannels } from "../channels/receiving_channels.ts";
import { ProtocolError } from "../errors.ts";
import type { MainChannelEvent } from "../protocol/main_channel_event.ts";
import { MainChannelReader } from "../protocol/main_channel_reader.ts";
import type { VmTail } from "../protocol/vm_tail.ts";
import { GuestRam } from "../ram/guest_ram.ts";
import { formatUuid, type RoundPages } from "../ram/manifest.ts";
import type { FinishedBlock } from "../ram/target.ts";
import type { Connection } from "../transport/connection.ts";
import { PolledConnection } from "../transport/native.ts";
import { type MigrationInfo, progressOf, type RamInfo, ramInfo } from "./info.ts";
import { Lifeline } from "./lifeline.ts";
import type { ReceiverOptions } from "./receiver_options.ts";
import { Rounds } from "./rounds.ts";
import { SourceAnswers } from "./source_answers.ts";

/**
 * How long the disk rests before what came meanwhile is written back, in milliseconds. Against
 * a first sync at the end, 1 GiB over loopback took as long and was on disk 360 ms sooner.
 */
const WRITE_BACK_MS = 50;
/** How long a channel may take to see that nothing comes any more, in milliseconds. */
const QUIET_MS = 1000;

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

/** Receives one migration. Connections are handed in with {@linkcode Receiver.add}. */
export class Receiver {
  readonly #options: ReceiverOptions;
  readonly #lifeline: Lifeline;
  readonly #connections = new Set<Connection>();
  readonly #identifying = new Set<Promise<void>>();
  readonly #session: ReceiveSession;
  readonly #channels: ReceivingChannels;
  readonly #rounds = new Rounds();
  readonly #answers = new SourceAnswers();
  readonly #reader: MainChannelReader;
  readonly #done = Promise.withResolvers<Received>();
  #main: Connection | undefined;
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
    const { target, channels: expected } = options;
    this.#channels = new ReceivingChannels({ session: this.#session, target, expected });
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
      if (this.#options.isNative) this.#channels.startWorkers();
      return await this.#lifeline.guard(this.#done.promise);
    } catch (error) {
      if (this.#isKept) return await this.#done.promise;
      this.#session.fail(error as Error);
      for (const connection of this.#connections) {
        if (connection !== this.#main) connection.destroy(error as Error);
      }
      await this.#answers.failed();
      this.#discard();
      throw error;
    } finally {
      clearInterval(this.#writeBack);
      this.#lifeline.close();
      for (const connection of this.#connections) connection.destroy();
      await this.#channels.stop();
    }
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
    if (this.#startedAt === 0) {
      this.#startedAt = performance.now();
      this.#lifeline.timeout = this.#options.timeout;
      this.#options.onEvent?.({ type: "started" });
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
    for (const { bytes } of this.#channels.counters) moved += bytes;
    return moved;
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
      const run = this.#channels.start(connection, identity.greeting);
      this.#options.onIdentified?.(connection, `ch${identity.greeting.id}`);
      onIdentified();
      await run;
    }
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
    this.#writeBack = setInterval(() => this.#startWriteBack(), WRITE_BACK_MS);
  }

  /** A guest stands still while the end is synced: little may be left to do by then. */
  #startWriteBack(): void {
    const moved = this.#activity();
    if (moved === this.#writtenBack) return;
    this.#writtenBack = moved;
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
      this.#setupAt = performance.now();
      const totalPages = this.#session.ram!.total / this.#session.ram!.pageSize;
      this.#options.onEvent?.({ type: "setup", channels: this.#channels.size, totalPages });
    }
    this.#session.barrier.release();
    this.#options.onEvent?.({ type: "sync", round: this.#rounds.count });
  }

  async #allIdentified(): Promise<void> {
    await this.#options.drain();
    while (this.#identifying.size > 0) await Promise.all(this.#identifying);
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
      method,
      engine: agreed?.engine?.name ?? "none",
      transport: this.#options.transport,
      channels: this.#channels.size,
      machine: this.#machine,
      ram: info,
      blocks,
      perChannel: this.#channels.counters,
      engineCounts: this.#channels.engineCounts,
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
