/**
 * Whether packet_num had a gap. Senders since QEMU 9.0 count without gaps over
 * all channels; QEMU 7.2 and 8 do not. Those are known by the capacity they
 * write into SYNC packets and by never counting zero pages.
 */
import { FLAG_SYNC, type RamPacket } from "../protocol/ram_packet.ts";

/** Numbers that may be ahead of the first missing one; more is a gap for certain. */
const MAX_AHEAD = 65536;

/** The packet numbers of a migration. */
export class PacketNumbers {
  #next = 0;
  readonly #ahead = new Set<number>();
  #hasCapacityInSync = false;
  #hasZeroPages = false;
  #overflowed = false;

  /** Notes a packet of any channel. */
  add({ packetNum, flags, pagesAlloc, zeroPages }: RamPacket): void {
    if ((flags & FLAG_SYNC) !== 0 && pagesAlloc !== 0) this.#hasCapacityInSync = true;
    if (zeroPages > 0) this.#hasZeroPages = true;
    if (packetNum > this.#next) {
      if (this.#ahead.size < MAX_AHEAD) this.#ahead.add(packetNum);
      else this.#overflowed = true;
      return;
    }
    if (packetNum < this.#next) return;
    this.#next++;
    while (this.#ahead.delete(this.#next)) this.#next++;
  }

  /** Whether this sender's numbers may have gaps. */
  get isLenient(): boolean {
    return this.#hasCapacityInSync && !this.#hasZeroPages;
  }

  /** The first number that never came though a later one did; undefined if there is none. */
  get gap(): number | undefined {
    return this.#ahead.size > 0 || this.#overflowed ? this.#next : undefined;
  }
}
