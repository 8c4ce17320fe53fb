/** A sending channel in the main thread, on whatever connections there are. */
import type { Engine, EngineCounts } from "../engines/engine.ts";
import type { Method, MethodSender } from "../methods/method.ts";
import type { Connection } from "../transport/connection.ts";
import { type ChannelCounters, makeCounters } from "./counters.ts";
import type { RateLimit } from "./rate_limit.ts";
import { setUpSender } from "./verify.ts";
import { SendingChannel, type SendingChannelOptions, type SendingRun } from "./sending_channel.ts";

/** What a sending channel in this thread needs. */
export interface SendingChannelHereOptions
  extends Omit<SendingChannelOptions, "connection" | "sender" | "counters" | "limit"> {
  /** The method. */
  method: Method;
  /** Its engine; undefined for none. */
  engine: Engine | undefined;
  /** Compression level. */
  level: number;
  /** Whether methods of single pages compress more. */
  dense: boolean;
  /** Whether software may step in for a device that is busy or fails. */
  fallback: boolean;
  /** Whether every payload is decompressed and compared before it is sent. */
  verify: boolean;
  /** Whether uadk compresses. */
  uadkCompress: boolean;
  /** The guest's uuid, 16 bytes. */
  uuid: Uint8Array;
  /** The rate that all channels keep to; undefined for none. */
  limit: RateLimit | undefined;
  /** Opens a connection. */
  open: (name: string) => Promise<Connection>;
}

/** The same steps as SendingChannelInWorker, here. */
export class SendingChannelHere {
  /** What went out so far. */
  readonly counters: ChannelCounters;
  readonly #options: SendingChannelHereOptions;
  #sender: MethodSender | undefined;
  #connection: Connection | undefined;
  #channel: SendingChannel | undefined;

  constructor(options: SendingChannelHereOptions) {
    this.#options = options;
    this.counters = makeCounters(options.id);
  }

  /** What became of the pages so far, on an engine that has a device. */
  get engineCounts(): EngineCounts | undefined {
    return this.#sender?.counts?.();
  }

  /** Sets the method up. */
  async setUp(): Promise<void> {
    const { method } = this.#options;
    this.#sender = await setUpSender(method, this.#options, () => this.counters.verifyCaught++);
  }

  /** Connects and sends everything. */
  start(): SendingRun {
    const begun = this.#begin();
    return { begun, sent: begun.then(() => this.#channel!.sendAll()) };
  }

  async #begin(): Promise<void> {
    const connection = await this.#options.open(`channel ${this.#options.id}`);
    this.#connection = connection;
    const sender = this.#sender!;
    const { counters } = this;
    this.#channel = new SendingChannel({ ...this.#options, connection, sender, counters });
    await this.#channel.begin(this.#options.uuid);
  }

  /** Drops the connection. */
  destroy(): void {
    this.#options.limit?.stop();
    this.#connection?.destroy();
  }

  /** Cleans the method up and drops the connection. */
  close(): Promise<void> {
    this.#sender?.cleanup();
    this.#sender = undefined;
    this.destroy();
    return Promise.resolve();
  }
}
