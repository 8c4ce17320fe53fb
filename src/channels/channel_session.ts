/** What a receiving channel sees of its migration, in the main thread or in a worker. */
import type { Engine } from "../engines/engine.ts";
import type { Method } from "../methods/method.ts";
import type { RamPacket } from "../protocol/ram_packet.ts";
import type { GuestRam } from "../ram/guest_ram.ts";

/** A method and what computes it; no engine for method none. */
export interface AgreedMethod {
  /** The method. */
  method: Method;
  /** Its engine. */
  engine: Engine | undefined;
}

/** A migration as one of its channels sees it. */
export interface ChannelSession {
  /** The page size in bytes, once the main channel's configuration is in. */
  readonly pageSize: Promise<number>;
  /** The guest's RAM, once the main channel has announced it. */
  readonly ram: GuestRam | undefined;
  /** Where a round ends. */
  readonly barrier: { stop(channel: number): Promise<void>; leave(channel: number): void };
  /** Takes the number of every packet. */
  readonly packetNumbers: { add(packet: RamPacket): void };
  /** Whether software may step in for a device that is busy or fails. */
  readonly fallback: boolean;
  /** Whether software decompresses, too, what a device did. */
  readonly verify: boolean;
  /** Whether the last marker was in RAM's END section, after which a channel may end. */
  readonly isEnding: boolean;
  /** Whether RAM's END is over, after which no pages may come. */
  readonly isOver: boolean;
  /** A packet was read that may not come once RAM is over; told before {@linkcode isOver} is asked. */
  begin(channel: number): void;
  /** Nothing has come behind the SYNC that may have been the last. */
  quiet(): void;
  /**
   * The migration's one method.
   *
   * @param flags A packet's flags.
   * @throws {ProtocolError} If they are not of that method.
   */
  methodOf(flags: number): AgreedMethod;
}
