/** Channels that live in workers: the same as ReceivingChannel and SendingChannel from here. */
import type { EngineCounts } from "../engines/engine.ts";
import { EngineError, MultifdError } from "../errors.ts";
import { type RamPacket, syncPacket } from "../protocol/ram_packet.ts";
import type { RamTarget } from "../ram/target.ts";
import { PolledConnection } from "../transport/native.ts";
import { Backlog } from "./backlog.ts";
import type { ChannelPort } from "./channel_worker.ts";
import { type ChannelCounters, COUNTERS_SIZE, makeCounters } from "./counters.ts";
import { RateLimit } from "./rate_limit.ts";
import type { ReceiveSession } from "./receive_session.ts";
import type { SendingRun } from "./sending_channel.ts";
import type {
  RamMessage,
  ReceiveMessage,
  ReleaseMessage,
  SendCommand,
  SendMessage,
  SendTask,
} from "./worker_messages.ts";

/** A receiving channel in a worker. */
export class ReceivingChannelInWorker {
  /** What came so far. */
  readonly counters: ChannelCounters;
  /** What became of the pages so far, on an engine that has a device. */
  engineCounts: EngineCounts | undefined;
  #quiet = Promise.withResolvers<void>();
  readonly #shared = new SharedArrayBuffer(COUNTERS_SIZE);
  readonly #worker: ChannelPort<ReceiveMessage>;
  readonly #connection: PolledConnection;
  readonly #session: ReceiveSession;
  readonly #target: RamTarget;

  constructor(
    id: number,
    connection: PolledConnection,
    session: ReceiveSession,
    target: RamTarget,
    worker: ChannelPort<ReceiveMessage>,
  ) {
    this.counters = makeCounters(id, this.#shared);
    this.#connection = connection;
    this.#session = session;
    this.#target = target;
    this.#worker = worker;
    connection.lend();
  }

  /** Receives until the channel ends or RAM does, as ReceivingChannel does. */
  async run(): Promise<void> {
    const { id } = this.counters;
    const session = this.#session;
    try {
      this.#worker.post({
        kind: "receive",
        id,
        fd: this.#connection.fd,
        pageSize: await session.pageSize,
        method: session.methodName,
        engine: session.engineName,
        fallback: session.fallback,
        verify: session.verify,
        counters: this.#shared,
        state: session.state.shared,
      });
      let ram: RamMessage | undefined;
      for (;;) {
        const message = await this.#worker.next();
        if (message === undefined) return;
        if (message.type === "counts") this.engineCounts = message.engineCounts;
        if (message.type === "packets") this.#count(message.packets);
        if (message.type === "leave") session.barrier.leave(id);
        if (message.type === "quiet") this.#quiet.resolve();
        if (message.type !== "sync") continue;
        this.#take(message);
        session.onSync();
        await session.barrier.stop(id);
        const isFirst = ram === undefined;
        ram ??= this.#ramMessage();
        const release: ReleaseMessage = {
          isEnding: session.isEnding,
          ram: isFirst ? ram : undefined,
        };
        this.#quiet = Promise.withResolvers();
        this.#worker.post(release);
      }
    } catch (error) {
      throw error instanceof MultifdError ? error.locate({ channel: id }) : error;
    } finally {
      this.#quiet.resolve();
      // whoever is blocked in a read wakes up, and only then is the socket's number free
      this.#connection.destroy();
      this.#worker.post("stop");
      await this.#worker.stop();
      this.#connection.giveBack();
    }
  }

  /** Returns when nothing has come behind the last SYNC that was released, or the channel is over. */
  get quiet(): Promise<void> {
    return this.#quiet.promise;
  }

  #take(message: ReceiveMessage & { type: "sync" }): void {
    this.engineCounts = message.engineCounts;
    this.#count(message.packets);
    if (this.#session.ram !== undefined) this.#session.ram.repeated += message.repeated;
  }

  #count(packets: Float64Array): void {
    const packet: RamPacket = syncPacket(0);
    for (let i = 0; i < packets.length; i += 4) {
      packet.packetNum = packets[i]!;
      packet.flags = packets[i + 1]!;
      packet.pagesAlloc = packets[i + 2]!;
      packet.zeroPages = packets[i + 3]!;
      this.#session.packetNumbers.add(packet);
    }
  }

  #ramMessage(): RamMessage {
    const { blocks, pageSize, received } = this.#session.ram!;
    const target = this.#target.share?.();
    if (target === undefined) throw new EngineError("Image cannot be shared with a worker");
    return {
      blocks: [...blocks.values()].map(({ name, usedLength }) => ({ name, usedLength })),
      pageSize,
      received,
      target,
      turn: this.#session.writeTurn.shared,
    };
  }
}

/** A sending channel in a worker. */
export class SendingChannelInWorker {
  /** What went out so far. */
  readonly counters: ChannelCounters;
  /** What became of the pages so far, on an engine that has a device. */
  engineCounts: EngineCounts | undefined;
  readonly #worker: ChannelPort<SendMessage>;
  readonly #sendZeroPages: (block: string, offsets: Float64Array) => Promise<void>;
  readonly #limit: RateLimit | undefined;
  readonly #zeros = new Backlog();
  #connection: PolledConnection | undefined;
  #isDropped = false;

  /**
   * @param task What the worker is told.
   * @param worker Where the channel lives.
   * @param sendZeroPages Sends zero pages on the main channel, for `legacy`.
   */
  constructor(
    task: Omit<SendTask, "kind" | "counters" | "zeros">,
    worker: ChannelPort<SendMessage>,
    sendZeroPages: (block: string, offsets: Float64Array) => Promise<void>,
  ) {
    const counters = new SharedArrayBuffer(COUNTERS_SIZE);
    this.counters = makeCounters(task.id, counters);
    this.#sendZeroPages = sendZeroPages;
    this.#limit = task.limit && new RateLimit(task.limit);
    this.#worker = worker;
    this.#worker.post({ ...task, kind: "send", counters, zeros: this.#zeros.shared });
  }

  /** Waits until the method is set up. */
  async setUp(): Promise<void> {
    await this.#heard("ready");
  }

  /** Connects and sends everything. */
  start(): SendingRun {
    this.#worker.post("start" satisfies SendCommand);
    const begun = this.#heard("begun");
    return { begun, sent: begun.then(() => this.#heard("sent")) };
  }

  async #next(): Promise<SendMessage | undefined> {
    try {
      return await this.#worker.next();
    } catch (error) {
      throw error instanceof MultifdError ? error.locate({ channel: this.counters.id }) : error;
    }
  }

  /** Waits until the worker says this. */
  async #heard(type: "ready" | "begun" | "sent"): Promise<void> {
    for (;;) {
      const message = await this.#next();
      if (message === undefined) throw new EngineError("Channel's worker ended too early");
      if (message.type === "counts" || message.type === "sent") {
        this.engineCounts = message.engineCounts;
      }
      if (message.type === "zeros") {
        await this.#sendZeroPages(message.block, message.offsets);
        this.#zeros.done();
      }
      if (message.type === "begun") this.#take(message.fd);
      if (message.type === type) return;
    }
  }

  #take(fd: number): void {
    this.#connection = new PolledConnection(fd, `channel ${this.counters.id}`);
    this.#connection.lend();
    if (this.#isDropped) this.#connection.destroy();
  }

  /** Drops the connection; a worker that is blocked on it, or waits its turn, wakes up. */
  destroy(): void {
    this.#isDropped = true;
    this.#limit?.stop();
    this.#zeros.stop();
    this.#connection?.destroy();
  }

  /** Ends the worker and closes the connection. */
  async close(): Promise<void> {
    this.#worker.post("end" satisfies SendCommand);
    this.destroy();
    await this.#worker.stop();
    this.#connection?.giveBack();
  }
}
