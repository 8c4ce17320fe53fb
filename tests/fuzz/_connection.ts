/** A connection whose bytes are there already; when they arrive is for the seed to say. */
import type { MaybePromise } from "../../src/maybe_promise.ts";
import type { Connection } from "../../src/transport/connection.ts";
import type { Random } from "../_random.ts";

/** Plays bytes in pieces, and lets others go first now and then. */
export class FuzzConnection implements Connection {
  name: string;
  bytesRead = 0;
  bytesWritten = 0;
  readonly #bytes: Uint8Array;
  readonly #random: Random;
  #error: Error | undefined;
  #isClosed = false;

  constructor(name: string, bytes: Uint8Array, random: Random) {
    this.name = name;
    this.#bytes = bytes;
    this.#random = random;
  }

  read(into: Uint8Array): MaybePromise<number> {
    if (this.#random.below(3) === 0) return this.#take(into);
    return this.#later(() => this.#take(into));
  }

  readSome(): MaybePromise<Uint8Array | undefined> {
    return this.#later(() => {
      const bytes = new Uint8Array(1 + this.#random.below(this.#random.pick([8, 300, 65536])));
      const read = this.#take(bytes);
      return read > 0 ? bytes.subarray(0, read) : undefined;
    });
  }

  #take(into: Uint8Array): number {
    if (this.#error !== undefined) throw this.#error;
    if (this.#isClosed) return 0;
    const piece = this.#bytes.subarray(this.bytesRead, this.bytesRead + into.length);
    into.set(piece);
    this.bytesRead += piece.length;
    return piece.length;
  }

  async #later<T>(then: () => T): Promise<T> {
    for (let i = this.#random.below(6); i > 0; i--) await undefined;
    return then();
  }

  write(bytes: Uint8Array, more?: Uint8Array): void {
    this.bytesWritten += bytes.length + (more?.length ?? 0);
  }

  end(): void {}

  destroy(error?: Error): void {
    this.#error ??= error;
    this.#isClosed = true;
  }
}
