/**
 * Whether packet_num had a gap. Senders since QEMU 9.0 count without gaps over
 * all channels; QEMU 7.2 and 8 do not. Those are known by the capacity they
 * write into SYNC packets and by never counting zero pages.
 */
import { FLAG_SYNC, type RamPacket } from "../protocol/ram_packet.ts";

/**
 * How far a number may be ahead of the first missing one; a further one tells of a gap. A bit each,
 * 8 MiB at most: one channel may be 32 TiB of pages ahead of another, or be heard of first.
 */
const MAX_AHEAD = 2 ** 26;
const FIRST_AHEAD = 1024;
const BITS_OF_WORD = 32;

/** Sets a number's bit, which is at its remainder; whether it was not set. */
function set(bits: Uint32Array, number: number): boolean {
  const place = number % (bits.length * BITS_OF_WORD);
  const word = Math.floor(place / BITS_OF_WORD);
  const before = bits[word]!;
  bits[word] = before | 1 << place % BITS_OF_WORD;
  return bits[word] !== before;
}

/** Clears a number's bit; whether it was set. */
function clear(bits: Uint32Array, number: number): boolean {
  const place = number % (bits.length * BITS_OF_WORD);
  const word = Math.floor(place / BITS_OF_WORD);
  const before = bits[word]!;
  bits[word] = before & ~(1 << place % BITS_OF_WORD);
  return bits[word] !== before;
}

/** The packet numbers of a migration. */
export class PacketNumbers {
  #next = 0;
  /** Bits of the numbers from `#next` on. */
  #ahead = new Uint32Array(FIRST_AHEAD / BITS_OF_WORD);
  #countAhead = 0;
  #hasCapacityInSync = false;
  #hasZeroPages = false;
  #hasFurther = false;

  /** Notes a packet of any channel. */
  add({ packetNum, flags, pagesAlloc, zeroPages }: RamPacket): void {
    if ((flags & FLAG_SYNC) !== 0 && pagesAlloc !== 0) this.#hasCapacityInSync = true;
    if (zeroPages > 0) this.#hasZeroPages = true;
    if (packetNum > this.#next) return this.#keep(packetNum);
    if (packetNum < this.#next) return;
    this.#next++;
    while (this.#countAhead > 0 && clear(this.#ahead, this.#next)) {
      this.#countAhead--;
      this.#next++;
    }
  }

  #keep(packetNum: number): void {
    const distance = packetNum - this.#next;
    if (distance >= MAX_AHEAD) {
      this.#hasFurther = true;
      return;
    }
    if (distance >= this.#ahead.length * BITS_OF_WORD) this.#grow(distance);
    if (set(this.#ahead, packetNum)) this.#countAhead++;
  }

  #grow(distance: number): void {
    const kept = this.#ahead;
    let { length } = kept;
    while (length * BITS_OF_WORD <= distance) length *= 2;
    this.#ahead = new Uint32Array(length);
    for (let i = 0; i < kept.length * BITS_OF_WORD; i++) {
      if (clear(kept, this.#next + i)) set(this.#ahead, this.#next + i);
    }
  }

  /** Whether this sender's numbers may have gaps. */
  get isLenient(): boolean {
    return this.#hasCapacityInSync && !this.#hasZeroPages;
  }

  /** The first number that never came though a later one did; undefined if there is none. */
  get gap(): number | undefined {
    return this.#countAhead > 0 || this.#hasFurther ? this.#next : undefined;
  }
}
