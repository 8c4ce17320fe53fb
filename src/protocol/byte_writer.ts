/** Puts big-endian numbers and names together. */
import { encodeWireName, viewOf, writeU64 } from "./bytes.ts";

/** Bytes being put together. */
export class ByteWriter {
  #bytes: Uint8Array = new Uint8Array(256);
  #length = 0;

  /** Bytes so far. */
  get length(): number {
    return this.#length;
  }

  #room(size: number): number {
    const at = this.#length;
    this.#length += size;
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(2 * this.#length);
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    return at;
  }

  /** A byte. */
  u8(value: number): this {
    // first the room: that may be in another array
    const at = this.#room(1);
    this.#bytes[at] = value;
    return this;
  }

  /** A u16. */
  u16(value: number): this {
    const at = this.#room(2);
    viewOf(this.#bytes).setUint16(at, value);
    return this;
  }

  /** A u32. */
  u32(value: number): this {
    const at = this.#room(4);
    viewOf(this.#bytes).setUint32(at, value);
    return this;
  }

  /** A whole number below 2^53 as a u64. */
  u64(value: number): this {
    const at = this.#room(8);
    writeU64(viewOf(this.#bytes), at, value);
    return this;
  }

  /** Bytes as they are. */
  raw(bytes: Uint8Array): this {
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  /** A name with its length before it. */
  name(text: string): this {
    const bytes = encodeWireName(text);
    return this.u8(bytes.length).raw(bytes);
  }

  /** All of them. */
  done(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}
