/** The main channel's bytes, as its reader asks for them one thing after another. */
import { ProtocolError, UnsupportedError } from "../errors.ts";
import { ByteQueue } from "./byte_queue.ts";
import { decodeName, viewOf } from "./bytes.ts";

/** Yields nothing for as long as bytes are missing, then returns what they make. */
export type Wait<T> = Generator<undefined, T, void>;

/** Gives out what was pushed, whatever pieces it came in. */
export class MainChannelBytes {
  /** What the next bytes should be, for messages. */
  expecting = "the stream's magic";
  readonly #queue = new ByteQueue();
  #consumed = 0;

  /** Bytes of the stream that were given out or skipped. */
  get consumed(): number {
    return this.#consumed;
  }

  /** Where in the stream the next bytes to push belong. */
  get position(): number {
    return this.#consumed + this.#queue.length;
  }

  /** Adds bytes; they are kept until they are read. */
  push(chunk: Uint8Array): void {
    this.#queue.push(chunk);
  }

  /** Waits for the next byte and leaves it. */
  *peek(what: string): Wait<number> {
    this.expecting = what;
    while (this.#queue.length === 0) yield undefined;
    return this.#queue.peek();
  }

  /** Takes `size` bytes. */
  *take(size: number, what: string): Wait<Uint8Array> {
    this.expecting = what;
    while (this.#queue.length < size) yield undefined;
    this.#consumed += size;
    return this.#queue.take(size);
  }

  /** Takes what there is, one byte at least. */
  *takeSome(what: string): Wait<Uint8Array> {
    yield* this.peek(what);
    this.#consumed += this.#queue.length;
    return this.#queue.takeAll();
  }

  /** Takes a byte. */
  *u8(what: string): Wait<number> {
    return (yield* this.take(1, what))[0]!;
  }

  /** Takes a u32. */
  *u32(what: string): Wait<number> {
    return viewOf(yield* this.take(4, what)).getUint32(0);
  }

  /** Takes a name with its length before it. */
  *name(what: string): Wait<string> {
    const length = yield* this.u8(`${what}'s length`);
    const name = decodeName(yield* this.take(length, what));
    if (name === undefined) throw this.error(`${what} is empty or not text`);
    return name;
  }

  /** Goes on at another place of the stream, further on; what comes next belongs there. */
  skipTo(position: number): void {
    const size = position - this.#consumed;
    if (size < this.#queue.length) this.#queue.take(size);
    else this.#queue.takeAll();
    this.#consumed = position;
  }

  /** The stream does not keep to the protocol here. */
  error(what: string, expected?: string | number, received?: string | number): ProtocolError {
    return new ProtocolError(what, { channel: "main", offset: this.#consumed, expected, received });
  }

  /** The stream has something that is refused by name. */
  unsupported(what: string): UnsupportedError {
    return new UnsupportedError(`Cannot take this migration: ${what}`, {
      channel: "main",
      offset: this.#consumed,
    });
  }
}
