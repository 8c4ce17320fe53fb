/** The little that all channels of a receiver must see at once, whatever thread they are in. */

const OVER = 0;
const METHOD = 1;
/** A word for each channel. */
const BEGUN = 2;
const SIZE = 4 * (BEGUN + 256);

/** A few words of shared memory. */
export class SharedState {
  /** The memory, for another thread. */
  readonly shared: SharedArrayBuffer;
  readonly #words: Int32Array;

  /** @param shared Another thread's state, to be one with it. */
  constructor(shared = new SharedArrayBuffer(SIZE)) {
    this.shared = shared;
    this.#words = new Int32Array(shared);
  }

  /** Whether RAM's END is over. */
  get isOver(): boolean {
    return Atomics.load(this.#words, OVER) !== 0;
  }

  /** Says that RAM's END is over. */
  setOver(): void {
    Atomics.store(this.#words, OVER, 1);
  }

  /**
   * A channel begins with a packet. It says so before it asks whether RAM is over: a packet that
   * is not refused because it came too early for that is then one too many in {@linkcode begun}.
   */
  begin(channel: number): void {
    Atomics.add(this.#words, BEGUN + channel, 1);
  }

  /** How many packets each channel has begun with. */
  get begun(): number[] {
    return Array.from({ length: 256 }, (_, id) => Atomics.load(this.#words, BEGUN + id));
  }

  /** The flag of the migration's method; undefined before it is agreed. */
  get methodFlag(): number | undefined {
    const word = Atomics.load(this.#words, METHOD);
    return word === 0 ? undefined : word - 1;
  }

  /** Agrees on a method's flag; the first one counts, and is returned. */
  agreeMethod(flag: number): number {
    const before = Atomics.compareExchange(this.#words, METHOD, 0, flag + 1);
    return before === 0 ? flag : before - 1;
  }
}
