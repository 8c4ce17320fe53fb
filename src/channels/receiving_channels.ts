/** The channels of a receiver, from the first to connect until all have stopped. */
import { type EngineCounts, sumCounts } from "../engines/engine.ts";
import { ProtocolError } from "../errors.ts";
import type { Greeting } from "../protocol/greeting.ts";
import type { RamTarget } from "../ram/target.ts";
import type { Connection } from "../transport/connection.ts";
import { PolledConnection } from "../transport/native.ts";
import { ReceivingChannelInWorker } from "./channel_in_worker.ts";
import { ChannelWorkers } from "./channel_workers.ts";
import type { ChannelCounters } from "./counters.ts";
import type { ReceiveSession } from "./receive_session.ts";
import { ReceivingChannel } from "./receiving_channel.ts";

/** How many channels are expected where nobody told: QEMU's default. */
const DEFAULT_CHANNELS = 2;

/** What a receiver's channels are made of. */
export interface ReceivingChannelsOptions {
  /** What they share. */
  session: ReceiveSession;
  /** Where their pages go. */
  target: RamTarget;
  /** How many will come; undefined finds out. */
  expected: number | undefined;
  /** Most to take where that is not told. */
  most: number;
}

/** Every channel that has connected, by its number. */
export class ReceivingChannels {
  readonly #options: ReceivingChannelsOptions;
  readonly #channels = new Map<number, ReceivingChannel | ReceivingChannelInWorker>();
  readonly #runs: Promise<void>[] = [];
  readonly #workers = new ChannelWorkers();
  #isFixed = false;
  #joined: () => void = () => {};

  constructor(options: ReceivingChannelsOptions) {
    this.#options = options;
  }

  /** Starts threads before anyone connects: they take longer than a connection. */
  startWorkers(): void {
    this.#workers.start(this.#options.expected ?? DEFAULT_CHANNELS);
    this.#workers.rehearse();
  }

  /** Waits in one of them until somebody connects to a listening socket. */
  watch(socket: number, begin: () => boolean): Promise<void> {
    return this.#workers.watch(socket, begin);
  }

  /** How many have connected. */
  get size(): number {
    return this.#channels.size;
  }

  /** Those that stand at no SYNC. */
  get moving(): number[] {
    const { stopped } = this.#options.session.barrier;
    return [...this.#channels.keys()].filter((id) => !stopped.includes(id));
  }

  /** Their counters, in order of their numbers. */
  get counters(): ChannelCounters[] {
    return [...this.#channels.values()].map((channel) => channel.counters)
      .sort((a, b) => a.id - b.id);
  }

  /** What became of the pages, where the engine has a device. */
  get engineCounts(): EngineCounts | undefined {
    return sumCounts([...this.#channels.values()].map((channel) => channel.engineCounts));
  }

  /**
   * Starts a channel that has connected and greeted.
   *
   * @returns Its run to its end.
   * @throws {ProtocolError} If it may not be there.
   */
  start(connection: Connection, { id, uuid }: Greeting): Promise<void> {
    const { session, target, expected, most } = this.#options;
    if (id >= (expected ?? most)) {
      const option = expected === undefined ? "--max-channels" : "--channels";
      throw new ProtocolError(`Channel has too high an id (see ${option})`, {
        channel: id,
        expected: `an id below ${expected ?? most}`,
        received: id,
      });
    }
    if (this.#isFixed) {
      throw new ProtocolError(
        `Channel arrived after set-up with ${this.size} channels (tell with --channels)`,
        { channel: id },
      );
    }
    if (this.#channels.has(id)) {
      throw new ProtocolError("Channel's id is already connected", { channel: id });
    }
    session.agreeUuid(uuid, id);
    connection.name = `channel ${id}`;
    const channel = connection instanceof PolledConnection
      ? new ReceivingChannelInWorker(
        id,
        connection,
        session,
        target,
        this.#workers.open(id),
      )
      : new ReceivingChannel(id, connection, session);
    this.#channels.set(id, channel);
    const run = channel.run();
    this.#runs.push(run);
    this.#joined();
    return run;
  }

  /**
   * At the first marker every channel has been opened: waits until all are here.
   *
   * @param settled Returns when no connection waits to be accepted or identified any more.
   * @throws {ProtocolError} If one is missing.
   */
  async allHere(settled: () => Promise<void>): Promise<void> {
    const { expected } = this.#options;
    if (expected === undefined) await settled();
    while (this.size < (expected ?? 0)) {
      await new Promise<void>((resolve) => this.#joined = resolve);
    }
    if (this.size === 0) {
      throw new ProtocolError("Peer opened no multifd channels: is multifd on at the source?");
    }
    for (let id = 0; id < this.size; id++) {
      if (this.#channels.has(id)) continue;
      throw new ProtocolError("Channel is missing at the first sync (tell with --channels)", {
        channel: id,
        expected: "ids without gaps from 0",
        received: [...this.#channels.keys()].sort((a, b) => a - b).join(", "),
      });
    }
    this.#isFixed = true;
  }

  /** Returns when the workers have looked behind the last SYNC. */
  async quiet(): Promise<void> {
    const looks = [...this.#channels.values()].map((channel) =>
      channel instanceof ReceivingChannelInWorker ? channel.quiet : undefined
    );
    await Promise.all(looks);
  }

  /** Waits for the end of every channel. */
  async ended(): Promise<void> {
    await Promise.all(this.#runs);
  }

  /** Ends the threads, and waits for the channels, whose connections have been dropped. */
  async stop(): Promise<void> {
    await this.#workers.stop();
    await Promise.allSettled(this.#runs);
  }
}
