/** What the channels of a migration share on the receiving side. */
import type { Engine } from "../engines/engine.ts";
import { selectEngine } from "../engines/select.ts";
import { ProtocolError } from "../errors.ts";
import type { Method } from "../methods/method.ts";
import { methodByFlag, methodByName } from "../methods/registry.ts";
import { hex } from "../protocol/bytes.ts";
import { METHOD_MASK } from "../protocol/ram_packet.ts";
import type { GuestRam } from "../ram/guest_ram.ts";
import { formatUuid } from "../ram/manifest.ts";
import { PacketNumbers } from "./packet_numbers.ts";
import { SyncBarrier } from "./sync_barrier.ts";

/** A method and what computes it; no engine for method none. */
export interface AgreedMethod {
  /** The method. */
  method: Method;
  /** Its engine. */
  engine: Engine | undefined;
}

/** The state of a migration that every channel sees. */
export class ReceiveSession {
  /** Where a round ends. */
  readonly barrier: SyncBarrier = new SyncBarrier();
  /** The numbers of all packets. */
  readonly packetNumbers: PacketNumbers = new PacketNumbers();
  /** The page size in bytes, once the main channel's configuration is in. */
  readonly pageSize: Promise<number>;
  /** Tells the page size. */
  readonly setPageSize: (bytes: number) => void;
  /** The guest's RAM, once the main channel has announced it. */
  ram: GuestRam | undefined;
  /** Whether the last marker was in RAM's END section, after which a channel may end. */
  isEnding = false;
  /** Whether RAM's END is over, after which no pages may come. */
  isOver = false;
  readonly #engineName: string | undefined;
  #agreed: AgreedMethod | undefined;
  #uuid: Uint8Array | undefined;

  /**
   * @param method The one method to take; undefined takes what arrives first.
   * @param engine Name of the engine to decode with; undefined for the best.
   */
  constructor(method: string | undefined, engine: string | undefined) {
    const { promise, resolve } = Promise.withResolvers<number>();
    this.pageSize = promise;
    this.setPageSize = resolve;
    this.#engineName = engine;
    if (method !== undefined) this.#agree(methodByName(method)!);
  }

  #agree(method: Method): AgreedMethod {
    this.#agreed = { method, engine: selectEngine(method, "decodes", this.#engineName) };
    return this.#agreed;
  }

  /** The migration's method, once it is known. */
  get agreed(): AgreedMethod | undefined {
    return this.#agreed;
  }

  /**
   * The migration's one method.
   *
   * @param flags A packet's flags.
   * @throws {ProtocolError} If they are not of that method.
   */
  methodOf(flags: number): AgreedMethod {
    const method = methodByFlag(flags);
    const agreed = this.#agreed;
    if (agreed !== undefined && method === agreed.method) return agreed;
    const received = method?.name ?? hex(flags & METHOD_MASK);
    if (agreed !== undefined) {
      throw new ProtocolError("Packet has another compression method than was agreed", {
        expected: agreed.method.name,
        received,
      });
    }
    if (method !== undefined) return this.#agree(method);
    throw new ProtocolError("Packet has an unknown compression method", { received });
  }

  /** The guest's uuid, 16 bytes; zeros where it has none. */
  get uuid(): Uint8Array {
    return this.#uuid ?? new Uint8Array(16);
  }

  /**
   * Takes the guest's uuid, as one connection tells it.
   *
   * @throws {ProtocolError} If another connection told another.
   */
  agreeUuid(uuid: Uint8Array, channel: number | "main"): void {
    this.#uuid ??= uuid;
    if (this.#uuid.every((byte, i) => byte === uuid[i])) return;
    throw new ProtocolError("Channels are of different guests: uuid", {
      channel,
      expected: formatUuid(this.#uuid),
      received: formatUuid(uuid),
    });
  }
}
