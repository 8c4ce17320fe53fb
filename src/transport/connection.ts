/** What the channels need of a transport: a stream of bytes both ways. */
import type { MaybePromise } from "../maybe_promise.ts";

/** A connection, over whatever transport. */
export interface Connection {
  /** What it is called in messages; set once the peer is known. */
  name: string;
  /** Bytes read so far. */
  readonly bytesRead: number;
  /** Bytes written so far. */
  readonly bytesWritten: number;
  /**
   * Fills an array.
   *
   * @returns Bytes read: fewer than asked only at the end of the stream.
   * @throws {PeerClosedError} If the connection is reset.
   */
  read(into: Uint8Array): MaybePromise<number>;
  /**
   * Reads what there is, waiting for at least a byte.
   *
   * @returns The bytes, or undefined at the end of the stream.
   * @throws {PeerClosedError} If the connection is reset.
   */
  readSome(): MaybePromise<Uint8Array | undefined>;
  /** Whether something has come that was not read yet; where it is missing, nobody can tell. */
  hasMore?(): boolean;
  /**
   * Waits for this connection's turn, before a packet: where several are in one thread, which
   * each of them may block. Where it is missing, it is always this one's turn.
   */
  turn?(): MaybePromise<void>;
  /**
   * Writes all bytes, of one piece or of two; they may be reused once it is done.
   *
   * @throws {PeerClosedError} If the peer is gone.
   */
  write(bytes: Uint8Array, more?: Uint8Array): MaybePromise<void>;
  /**
   * Writes a header and some of a buffer's pages without joining them; where it is missing,
   * they are joined first.
   *
   * @param header The header.
   * @param pages A buffer of pages.
   * @param ordinals Which of them, in order.
   * @param pageSize Bytes of a page.
   */
  writePages?(
    header: Uint8Array,
    pages: Uint8Array,
    ordinals: Uint32Array,
    pageSize: number,
  ): void;
  /** Makes a buffer that is fast to read into and to write from; where missing, any is. */
  allocate?(size: number): Uint8Array;
  /** Ends the sending direction. */
  end(): void;
  /** Drops the connection; what waits on it gets the error, or the end of the stream. */
  destroy(error?: Error): void;
}

/** A buffer for a connection's large reads and writes. */
export function allocate(connection: Connection, size: number): Uint8Array {
  return connection.allocate?.(size) ?? new Uint8Array(size);
}

/** A listening address. */
export interface Listener {
  /** The address, with the port that was given. */
  readonly address: string;
  /** Returns when no connection is waiting to be accepted any more. */
  drain(): Promise<void>;
  /** Stops listening; connections stay. */
  close(): void;
}
