/** What the channels of a migration share on the receiving side. */
import { ProtocolError } from "../errors.ts";
import type { GuestRam } from "../ram/guest_ram.ts";
import { formatUuid } from "../ram/manifest.ts";
import { WriteTurn } from "../ram/write_turn.ts";
import type { AgreedMethod, ChannelSession } from "./channel_session.ts";
import { MethodAgreement } from "./method_agreement.ts";
import { PacketNumbers } from "./packet_numbers.ts";
import { SharedState } from "./shared_state.ts";
import { SyncBarrier } from "./sync_barrier.ts";

/** What a receiver's channels are told. */
export interface ReceiveSessionOptions {
  /** The one method to take; undefined takes what arrives first. */
  method?: string | undefined;
  /** Name of the engine to decode with; undefined for the best. */
  engine?: string | undefined;
  /** Whether software may step in for a device that is busy or fails. Default true. */
  fallback?: boolean | undefined;
  /** Whether software decompresses, too, what a device did. Default false. */
  verify?: boolean | undefined;
  /** The one guest to take, 16 bytes; undefined takes any. */
  uuid?: Uint8Array | undefined;
}

/** The state of a migration that every channel sees. */
export class ReceiveSession implements ChannelSession {
  /** Where a round ends. */
  readonly barrier: SyncBarrier = new SyncBarrier();
  /** The numbers of all packets. */
  readonly packetNumbers: PacketNumbers = new PacketNumbers();
  /** The page size in bytes, once the main channel's configuration is in. */
  readonly pageSize: Promise<number>;
  /** Tells the page size. */
  readonly setPageSize: (bytes: number) => void;
  /** The one method to take; undefined takes what arrives first. */
  readonly methodName: string | undefined;
  /** Name of the engine to decode with; undefined for the best. */
  readonly engineName: string | undefined;
  /** Whether software may step in for a device that is busy or fails. */
  readonly fallback: boolean;
  /** Whether software decompresses, too, what a device did. */
  readonly verify: boolean;
  /** The guest's RAM, once the main channel has announced it. */
  ram: GuestRam | undefined;
  /** Whether the last marker was in RAM's END section, after which a channel may end. */
  isEnding = false;
  /** What channels in workers see, too. */
  readonly state: SharedState = new SharedState();
  /** The channels' turns at writing to files. */
  readonly writeTurn: WriteTurn = new WriteTurn();
  /** Told when a channel stands at a SYNC: its marker is on the main channel. */
  onSync: () => void = () => {};
  readonly #giveUpPageSize: (error: Error) => void;
  readonly #method: MethodAgreement;
  readonly #mismatch: string;
  #uuid: Uint8Array | undefined;

  /** @param options What to take, and how. */
  constructor({ method, engine, fallback, verify, uuid }: ReceiveSessionOptions) {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    promise.catch(() => {});
    this.pageSize = promise;
    this.setPageSize = resolve;
    this.#giveUpPageSize = reject;
    this.methodName = method;
    this.engineName = engine;
    this.fallback = fallback ?? true;
    this.verify = verify ?? false;
    this.#mismatch = uuid === undefined
      ? "Channels are of different guests: uuid"
      : "Guest is not the one to take: uuid";
    this.#uuid = uuid;
    this.#method = new MethodAgreement(this.state, method, engine);
  }

  /** Ends the waiting of every channel with an error. */
  fail(error: Error): void {
    this.#giveUpPageSize(error);
    this.barrier.fail(error);
  }

  /** Whether RAM's END is over, after which no pages may come. */
  get isOver(): boolean {
    return this.state.isOver;
  }

  /** A channel begins with a packet. */
  begin(channel: number): void {
    this.state.begin(channel);
  }

  /** Of no use here: who can say so is in a worker. */
  quiet(): void {}

  /** The migration's method, once it is known; a channel that has no engine for it says so. */
  get agreed(): AgreedMethod | undefined {
    try {
      return this.#method.agreed;
    } catch {
      return undefined;
    }
  }

  /** The migration's one method: what was told, or what came first. */
  methodOf(flags: number): AgreedMethod {
    return this.#method.of(flags);
  }

  /** The guest's uuid, 16 bytes; zeros where it has none. */
  get uuid(): Uint8Array {
    return this.#uuid ?? new Uint8Array(16);
  }

  /**
   * Takes the guest's uuid, as one connection tells it.
   *
   * @throws {ProtocolError} If it is not the one to take, or another connection told another.
   */
  agreeUuid(uuid: Uint8Array, channel: number | "main"): void {
    this.#uuid ??= uuid;
    if (this.#uuid.every((byte, i) => byte === uuid[i])) return;
    throw new ProtocolError(this.#mismatch, {
      channel,
      expected: formatUuid(this.#uuid),
      received: formatUuid(uuid),
    });
  }
}
