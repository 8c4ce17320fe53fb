/** What a receiver is told. */
import type { ReceiveSessionOptions } from "../channels/receive_session.ts";
import type { ManifestSource } from "../ram/manifest.ts";
import type { RamTarget } from "../ram/target.ts";
import type { Connection } from "../transport/connection.ts";
import type { EventHandler } from "./info.ts";

/** What a receiver needs. */
export interface ReceiverOptions extends ReceiveSessionOptions {
  /** Where the RAM goes. */
  target: RamTarget;
  /** How many channels will come; undefined finds out. */
  channels?: number | undefined;
  /** Most channels to take where that is not told. */
  maxChannels?: number | undefined;
  /** Most bytes of RAM. */
  maxRam?: number | undefined;
  /** Takes pages that never arrive as zero. */
  missingAsZero?: boolean | undefined;
  /** Longest time without progress, in milliseconds; 0 for none. */
  timeout: number;
  /** Longest time until the source's first connection; `timeout` if undefined. */
  acceptTimeout?: number | undefined;
  /** Whether channels live in workers; their connections are then native ones. */
  isNative?: boolean | undefined;
  /** The transport's name, for the report. */
  transport: string;
  /** What is known of the source, for the manifest. */
  source?: ManifestSource | undefined;
  /** The caller's way to cancel. */
  signal?: AbortSignal | undefined;
  /** Takes the events. */
  onEvent?: EventHandler | undefined;
  /** Returns when no connection waits to be accepted any more. */
  drain: () => Promise<void>;
  /** Lets go of a thread that waits for the first connection. */
  stopWatching?: (() => void) | undefined;
  /** Whether the connections play a recording, which must hold nothing more than a migration. */
  isPlayback?: boolean | undefined;
  /** Told what a connection turned out to be: `main` or `ch<id>`. */
  onIdentified?: ((connection: Connection, name: string) => void) | undefined;
}
