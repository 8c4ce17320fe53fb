/** Bytes waiting to be read, in pieces as they came. */
export class ByteQueue {
  #chunks: Uint8Array[] = [];
  #at = 0;
  #length = 0;

  /** Bytes waiting. */
  get length(): number {
    return this.#length;
  }

  /** Adds a piece; it is kept, not copied. */
  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  /** The next byte, left in place; there must be one. */
  peek(): number {
    return this.#chunks[0]![this.#at]!;
  }

  /** Takes `size` bytes, which must be there; a view where one piece holds them all. */
  take(size: number): Uint8Array {
    const first = this.#chunks[0];
    if (first !== undefined && first.length - this.#at > size) {
      this.#length -= size;
      this.#at += size;
      return first.subarray(this.#at - size, this.#at);
    }
    const bytes = new Uint8Array(size);
    let filled = 0;
    while (filled < size) {
      const chunk = this.#chunks[0]!;
      const part = chunk.subarray(this.#at, this.#at + size - filled);
      bytes.set(part, filled);
      filled += part.length;
      this.#at += part.length;
      if (this.#at === chunk.length) {
        this.#chunks.shift();
        this.#at = 0;
      }
    }
    this.#length -= size;
    return bytes;
  }

  /** Takes everything. */
  takeAll(): Uint8Array {
    return this.take(this.#length);
  }
}
