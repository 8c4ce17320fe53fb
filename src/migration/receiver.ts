/**
 * The receiving side of a migration, whatever its connections come from: a
 * listener, or files of a recording.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { PacketNumbers } from "../channels/packet_numbers.ts";
import { type ReceiveSession, ReceivingChannel } from "../channels/receiving_channel.ts";
import { SyncBarrier } from "../channels/sync_barrier.ts";
import type { Engine } from "../engines/engine.ts";
import { selectEngine } from "../engines/select.ts";
import { PeerClosedError, ProtocolError } from "../errors.ts";
import type { Method } from "../methods/method.ts";
import { methodByFlag, methodByName } from "../methods/registry.ts";
import { hex, viewOf } from "../protocol/bytes.ts";
import { GREETING_SIZE, MULTIFD_MAGIC, parseGreeting } from "../protocol/greeting.ts";
import { MAIN_MAGIC, type MainChannelEvent } from "../protocol/main_channel.ts";
import { MainChannelReader } from "../protocol/main_channel_reader.ts";
import { METHOD_MASK } from "../protocol/ram_packet.ts";
import { encodeReturnPathMessage } from "../protocol/return_path.ts";
import type { VmTail } from "../protocol/vm_tail.ts";
import { GuestRam } from "../ram/guest_ram.ts";
import { formatUuid } from "../ram/manifest.ts";
import type { FinishedBlock, RamTarget } from "../ram/target.ts";
import type { Connection } from "../transport/connection.ts";
import { type EventHandler, type MigrationInfo, type RamInfo, ramInfo } from "./info.ts";
import { Lifeline } from "./lifeline.ts";

/** How long SHUT 1 may take to be written, in milliseconds. */
const FAREWELL_MS = 1000;
/** How long the source may take to close after SHUT 0, in milliseconds. */
const CLOSING_MS = 5000;
/** How often a source that waits for SHUT hears that we are alive, in milliseconds. */
const KEEPALIVE_MS = 1000;

/** What a receiver needs. */
export interface ReceiverOptions {
  /** Where the RAM goes. */
  target: RamTarget;
  /** The one method to take; undefined takes what arrives. */
  method?: string | undefined;
  /** How many channels will come; undefined finds out. */
  channels?: number | undefined;
  /** Engine to decode with; `auto` if undefined. */
  engine?: string | undefined;
  /** Most bytes of RAM. */
  maxRam?: number | undefined;
  /** Takes pages that never arrive as zero. */
  missingAsZero?: boolean | undefined;
  /** Longest time without progress, in milliseconds; 0 for none. */
  timeout: number;
  /** Longest time until the first connection; `timeout` if undefined. */
  acceptTimeout?: number | undefined;
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
  readonly #channels = new Map<number, ReceivingChannel>();
  readonly #barrier = new SyncBarrier();
  readonly #packetNumbers = new PacketNumbers();
  readonly #reader: MainChannelReader;
  readonly #pageSize: { promise: Promise<number>; resolve: (size: number) => void };
  readonly #session: ReceiveSession;
  readonly #done: { promise: Promise<Received>; resolve: (received: Received) => void };
  readonly #channelRuns: Promise<void>[] = [];
  #channelJoined: () => void = () => {};
  #channelCount: number | undefined;
  #main: Connection | undefined;
  #hasReturnPath = false;
  #machine = "";
  #uuid: Uint8Array | undefined;
  #agreed: { method: Method; engine: Engine | undefined } | undefined;
  #ram: GuestRam | undefined;
  #sync = "";
  #rounds = 0;
  #isEnding = false;
  #isOver = false;
  /** Whether the image is durable, after which nothing can fail it. */
  #isKept = false;
  #mainZeroPages = 0;
  #mainNormalPages = 0;
  #missing = new Map<string, number>();
  #startedAt = 0;
  #setupAt = 0;
  #completeAt = 0;

  /** @param options Everything a receiver is told. */
  constructor(options: ReceiverOptions) {
    this.#options = options;
    this.#channelCount = options.channels;
    this.#pageSize = Promise.withResolvers<number>();
    this.#done = Promise.withResolvers<Received>();
    this.#reader = new MainChannelReader({ maxRam: options.maxRam });
    if (options.method !== undefined) {
      const method = methodByName(options.method)!;
      this.#agreed = { method, engine: selectEngine(method, options.engine) };
    }
    this.#lifeline = new Lifeline({
      signal: options.signal,
      timeout: options.acceptTimeout ?? options.timeout,
      activity: () => this.#activity(),
      waitingFor: () => this.#waitingFor(),
      onTick: () => this.#tellProgress(),
    });
    this.#session = this.#makeSession();
  }

  /** A view of this receiver for its channels. */
  #makeSession(): ReceiveSession {
    // deno-lint-ignore no-this-alias
    const self = this;
    return {
      pageSize: this.#lifeline.guard(this.#pageSize.promise),
      barrier: this.#barrier,
      packetNumbers: this.#packetNumbers,
      get ram() {
        return self.#ram;
      },
      get isEnding() {
        return self.#isEnding;
      },
      get isOver() {
        return self.#isOver;
      },
      methodOf: (flags) => this.#methodOf(flags),
    };
  }

  /**
   * Waits for the migration's end, and leaves nothing behind whatever that is.
   *
   * @returns What was received, complete and verified.
   * @throws {MultifdError} The first error.
   */
  async run(): Promise<Received> {
    this.#session.pageSize.catch(() => {});
    try {
      return await this.#lifeline.guard(this.#done.promise);
    } catch (error) {
      if (this.#isKept) return await this.#done.promise;
      this.#barrier.fail(error as Error);
      for (const connection of this.#connections) {
        if (connection !== this.#main) connection.destroy(error as Error);
      }
      await this.#sayFailed();
      this.#options.target.discard();
      throw error;
    } finally {
      this.#lifeline.close();
      for (const connection of this.#connections) connection.destroy();
    }
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
    return moved;
  }

  #waitingFor(): string {
    const wanted = this.#channelCount === undefined ? "" : ` of ${this.#channelCount}`;
    const channels = `${this.#channels.size}${wanted} channels are connected`;
    if (this.#main === undefined) return `the main channel; ${channels}`;
    const stopped = this.#barrier.stopped;
    const late = [...this.#channels.keys()].filter((id) => !stopped.includes(id));
    if (this.#setupAt === 0 || late.length === 0) {
      return `${this.#reader.expecting} on the main channel; ${channels}`;
    }
    return `channels ${late.join(", ")} or ${this.#reader.expecting} on the main channel`;
  }

  #tellProgress(): void {
    if (this.#ram === undefined || this.#isOver) return;
    const info = this.#ramInfo();
    this.#options.onEvent?.({
      type: "progress",
      pages: info.normal + info.duplicate,
      totalPages: info.total / info.pageSize,
      transferred: info.transferred,
      pageSize: info.pageSize,
      round: this.#rounds,
      elapsed: performance.now() - this.#startedAt,
    });
  }

  async #serve(connection: Connection, onIdentified: () => void): Promise<void> {
    const start = new Uint8Array(4);
    const read = await connection.read(start);
    if (read === 0) {
      onIdentified();
      this.#connections.delete(connection);
      connection.destroy();
      const message = `${connection.name} was closed before it said anything, ignored`;
      this.#options.onEvent?.({ type: "warning", message });
      return;
    }
    if (read < 4) {
      throw new PeerClosedError(`Peer closed ${connection.name} inside its first bytes`, {
        expected: "4 bytes",
        received: read,
      });
    }
    const magic = viewOf(start).getUint32(0);
    if (magic === MAIN_MAGIC) {
      if (this.#main !== undefined) throw new ProtocolError("Peer opened a second main channel");
      this.#main = connection;
      connection.name = "main channel";
      this.#options.onIdentified?.(connection, "main");
      onIdentified();
      await this.#runMain(connection, start);
    } else if (magic === MULTIFD_MAGIC) {
      const channel = await this.#greet(connection, start);
      onIdentified();
      const run = channel.run();
      this.#channelRuns.push(run);
      this.#channelJoined();
      await run;
    } else {
      throw new ProtocolError(`First bytes of ${connection.name} are no channel's magic`, {
        expected: `${hex(MAIN_MAGIC)} or ${hex(MULTIFD_MAGIC)}`,
        received: hex(magic),
      });
    }
  }

  async #greet(connection: Connection, start: Uint8Array): Promise<ReceivingChannel> {
    const bytes = new Uint8Array(GREETING_SIZE);
    bytes.set(start);
    const read = await connection.read(bytes.subarray(4));
    if (read < GREETING_SIZE - 4) {
      throw new PeerClosedError(`Peer closed ${connection.name} inside its greeting`, {
        expected: `${GREETING_SIZE} bytes`,
        received: read + 4,
      });
    }
    const { id, uuid } = parseGreeting(bytes);
    if (this.#channelCount !== undefined && id >= this.#channelCount) {
      throw new ProtocolError("Channel has too high an id (see --channels)", {
        channel: id,
        expected: `an id below ${this.#channelCount}`,
        received: id,
      });
    }
    if (this.#setupAt !== 0) {
      throw new ProtocolError(
        `Channel arrived after set-up with ${this.#channels.size} channels (tell with --channels)`,
        { channel: id },
      );
    }
    if (this.#channels.has(id)) {
      throw new ProtocolError("Channel's id is already connected", { channel: id });
    }
    this.#agreeUuid(uuid, id);
    connection.name = `channel ${id}`;
    const channel = new ReceivingChannel(id, connection, this.#session);
    this.#channels.set(id, channel);
    this.#options.onIdentified?.(connection, `ch${id}`);
    return channel;
  }

  #agreeUuid(uuid: Uint8Array, channel: number | "main"): void {
    this.#uuid ??= uuid;
    if (this.#uuid.every((byte, i) => byte === uuid[i])) return;
    throw new ProtocolError("Channels are of different guests: uuid", {
      channel,
      expected: formatUuid(this.#uuid),
      received: formatUuid(uuid),
    });
  }

  #methodOf(flags: number): { method: Method; engine: Engine | undefined } {
    if (this.#agreed === undefined) {
      const method = methodByFlag(flags);
      if (method === undefined) {
        throw new ProtocolError("Packet has an unknown compression method", {
          received: hex(flags & METHOD_MASK),
        });
      }
      this.#agreed = { method, engine: selectEngine(method, this.#options.engine) };
    }
    if ((flags & METHOD_MASK) !== this.#agreed.method.flag) {
      throw new ProtocolError("Packet has another compression method than was agreed", {
        expected: this.#agreed.method.name,
        received: methodByFlag(flags)?.name ?? hex(flags & METHOD_MASK),
      });
    }
    return this.#agreed;
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
        if (event.uuid !== undefined) this.#agreeUuid(event.uuid, "main");
        this.#pageSize.resolve(event.pageSize ?? 4096);
        return;
      case "return-path":
        this.#hasReturnPath = true;
        return;
      case "ping":
        if (!this.#hasReturnPath) return;
        return this.#answer(connection, event.value);
      case "blocks":
        return this.#makeRam(event.blocks);
      case "zero":
        this.#mainZeroPages++;
        this.#ram!.zeroPages(event.block, [event.offset]);
        return;
      case "page":
        this.#mainNormalPages++;
        this.#ram!.writePages(event.block, new Float64Array([event.offset]), event.data);
        return;
      case "sync":
        return this.#onMarker(event.mode, event.section === "end");
      case "ram-end":
        this.#onRamEnd();
        return;
    }
  }

  async #answer(connection: Connection, value: number): Promise<void> {
    await connection.write(encodeReturnPathMessage({ type: "pong", value }));
  }

  async #makeRam(blocks: ConstructorParameters<typeof GuestRam>[0]): Promise<void> {
    this.#ram = new GuestRam(blocks, await this.#pageSize.promise, this.#options.target);
  }

  async #onMarker(mode: string, isEnd: boolean): Promise<void> {
    this.#sync = mode;
    if (this.#setupAt === 0) await this.#fixChannels();
    await this.#barrier.allStopped(this.#channels.size);
    this.#rounds++;
    this.#isEnding = isEnd;
    if (this.#setupAt === 0) {
      this.#setupAt = performance.now();
      const totalPages = this.#ram!.total / this.#ram!.pageSize;
      this.#options.onEvent?.({ type: "setup", channels: this.#channels.size, totalPages });
    }
    this.#barrier.release();
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
    this.#isOver = true;
    this.#completeAt = performance.now();
    this.#missing = this.#ram!.missing();
    if (this.#missing.size > 0 && this.#options.missingAsZero !== true) {
      const list = [...this.#missing].map(([name, count]) => `${count} of "${name}"`).join(", ");
      throw new ProtocolError(`Pages never arrived: ${list} (--missing zero takes them as zero)`);
    }
    const { gap, isLenient } = this.#packetNumbers;
    if (gap !== undefined && !isLenient) {
      throw new ProtocolError("Packet never arrived: packet_num has a gap", { expected: gap });
    }
    this.#options.onEvent?.({ type: "finishing" });
  }

  /** Everything is in: make it durable, and only then say so. */
  async #finish(connection: Connection, tail: VmTail): Promise<void> {
    this.#lifeline.timeout = 0;
    if (this.#options.isPlayback) await this.#playOut(connection);
    const keepalive = setInterval(() => {
      if (this.#hasReturnPath) this.#answer(connection, 0).catch(() => {});
    }, KEEPALIVE_MS);
    const pageSize = await this.#pageSize.promise;
    const uuid = this.#uuid ?? new Uint8Array(16);
    let blocks: FinishedBlock[];
    try {
      const info = this.#ramInfo();
      blocks = await this.#options.target.finish(
        {
          machine: this.#machine,
          uuid,
          pageSize,
          tail,
          counters: {
            method: this.#agreed?.method.name ?? "none",
            channels: this.#channels.size,
            "dirty-sync-count": this.#rounds,
            normal: info.normal,
            duplicate: info.duplicate,
            transferred: info.transferred,
          },
        },
        [...this.#ram!.blocks.values()].map(({ name, usedLength }) => ({
          name,
          usedLength,
          sha256: undefined,
          missing: this.#missing.get(name) ?? 0,
        })),
      );
    } finally {
      clearInterval(keepalive);
    }
    this.#isKept = true;
    const finishTime = performance.now() - this.#completeAt;
    if (this.#hasReturnPath) await this.#sayDone(connection);
    this.#done.resolve({
      status: "completed",
      totalTime: this.#completeAt - this.#startedAt,
      setupTime: this.#setupAt - this.#startedAt,
      finishTime,
      method: this.#agreed?.method.name ?? "none",
      engine: this.#agreed?.engine?.name ?? "none",
      transport: this.#options.transport,
      channels: this.#channels.size,
      machine: this.#machine,
      ram: this.#ramInfo(),
      blocks,
      perChannel: this.#counters(),
      uuid: formatUuid(uuid),
      tail,
      sync: this.#sync,
      repeatedPages: this.#ram!.repeated,
      lenientPacketNumbers: this.#packetNumbers.isLenient,
    });
  }

  /** Plays every connection to its end. */
  async #playOut(connection: Connection): Promise<void> {
    const more = await connection.readSome();
    if (more !== undefined) this.#reader.push(more).next();
    await Promise.all(this.#channelRuns);
  }

  /** SHUT 0, then wait for the source to close; the image is safe whatever it does. */
  async #sayDone(connection: Connection): Promise<void> {
    try {
      await connection.write(encodeReturnPathMessage({ type: "shut", status: 0 }));
      connection.end();
      const closed = (async () => {
        while (await connection.readSome() !== undefined);
      })();
      await Promise.race([closed, sleep(CLOSING_MS, undefined, { ref: false })]);
    } catch {
      // the source is gone already
    }
  }

  async #sayFailed(): Promise<void> {
    if (this.#main === undefined || !this.#hasReturnPath) return;
    const shut = encodeReturnPathMessage({ type: "shut", status: 1 });
    const said = (async () => await this.#main!.write(shut))().catch(() => {});
    await Promise.race([said, sleep(FAREWELL_MS, undefined, { ref: false })]);
  }

  #counters(): ReceivingChannel["counters"][] {
    return [...this.#channels.values()].map((channel) => channel.counters)
      .sort((a, b) => a.id - b.id);
  }

  #ramInfo(): RamInfo {
    return ramInfo({
      totalTime: (this.#completeAt || performance.now()) - this.#startedAt,
      mainBytes: this.#main?.bytesRead ?? 0,
      mainZeroPages: this.#mainZeroPages,
      mainNormalPages: this.#mainNormalPages,
      total: this.#ram!.total,
      pageSize: this.#ram!.pageSize,
      rounds: this.#rounds,
      channels: this.#counters(),
    });
  }
}
