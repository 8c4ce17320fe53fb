/** Reads bytes in the plainest way; what is missing is an error. */

/** Throws unless a rule of the format holds. */
export function require(holds: boolean, rule: string): void {
  if (!holds) throw new Error(`it does not hold that ${rule}`);
}

/** A name's text. */
export function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

/** Big-endian numbers from the front of bytes. */
export class Reader {
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get isOver(): boolean {
    return this.#at === this.#view.byteLength;
  }

  peek(): number {
    return this.#view.getUint8(this.#at);
  }

  take(size: number): Uint8Array {
    require(this.#at + size <= this.#view.byteLength, `${size} more bytes are there`);
    this.#at += size;
    return new Uint8Array(this.#view.buffer, this.#view.byteOffset + this.#at - size, size);
  }

  u8(): number {
    return this.take(1)[0]!;
  }

  u16(): number {
    this.take(2);
    return this.#view.getUint16(this.#at - 2);
  }

  u32(): number {
    this.take(4);
    return this.#view.getUint32(this.#at - 4);
  }

  /** Rounded above 2^53, which no bound allows. */
  u64(): number {
    return this.u32() * 2 ** 32 + this.u32();
  }

  /** A name with its length before it. */
  name(): string {
    return textOf(this.take(this.u8()));
  }

  /** The head of a RAM record: an address of whole pages, and flags below the page size. */
  record(pageSize: number): [address: number, flags: number] {
    const [high, low] = [this.u32(), this.u32()];
    const flags = low % pageSize;
    return [high * 2 ** 32 + low - flags, flags];
  }
}
