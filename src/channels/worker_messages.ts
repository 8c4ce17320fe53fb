/** What the main thread and a channel in a worker say to each other. */
import type { EngineCounts } from "../engines/engine.ts";
import type { ErrorMessage } from "../errors.ts";
import type { RamBlock } from "../protocol/ram_packet.ts";
import type { SharedRam } from "../ram/target.ts";
import type { Address } from "../transport/address.ts";
import type { ZeroPages } from "./sending_channel.ts";

/** A message, either way, with the channel it is for or from: several may live in a worker. */
export interface ForChannel<Message> {
  channel: number;
  message: Message;
}

/** The first message of a worker, which may have no task yet. */
export interface WorkerStart {
  type: "started";
  /** The thread, as the kernel calls it. */
  thread: number;
}

/** To a worker without a task: receive something that was made up, see receive_rehearsal.ts. */
export interface RehearseMessage {
  rehearse: true;
}

/** To a worker without a task: block until somebody connects. */
export interface WatchMessage {
  /** A listening socket. */
  watch: number;
}

/** From a worker: a listening socket has a connection, or was shut down. */
export interface ArrivalMessage {
  type: "arrived";
}

/** A channel's first message to its worker: be a receiving channel. */
export interface ReceiveTask {
  kind: "receive";
  id: number;
  /** The channel's socket, its greeting read. */
  fd: number;
  pageSize: number;
  method: string | undefined;
  engine: string | undefined;
  fallback: boolean;
  verify: boolean;
  counters: SharedArrayBuffer;
  state: SharedArrayBuffer;
}

/** The first message to a worker that is not needed after all. */
export interface IdleTask {
  kind: "idle";
}

/** The guest's RAM, for a worker. */
export interface RamMessage {
  blocks: RamBlock[];
  pageSize: number;
  received: SharedArrayBuffer[];
  target: SharedRam;
  /** The channels' turns at writing. */
  turn: SharedArrayBuffer;
}

/** To a receiving worker at a SYNC: the marker has come, go on. Or just `stop`. */
export interface ReleaseMessage {
  isEnding: boolean;
  /** With the first release. */
  ram: RamMessage | undefined;
}

/** From a receiving worker. */
export type ReceiveMessage =
  | {
    /** It stands at a SYNC. */
    type: "sync";
    /** Four numbers of each packet since the last: packet_num, flags, pages_alloc, zero_pages. */
    packets: Float64Array;
    /** Pages that came again since the last. */
    repeated: number;
    /** What became of the pages on an engine with a device, all together. */
    engineCounts: EngineCounts | undefined;
  }
  | EngineCountsMessage
  | {
    /** It has seen so many packets since it last told, and is in the middle of a round. */
    type: "packets";
    /** As with `sync`. */
    packets: Float64Array;
  }
  | { /** The stream ended where it may. */ type: "leave" }
  | { /** Nothing has come behind the SYNC that may have been the last. */ type: "quiet" }
  | WorkerEnd;

/** From a worker at work, now and then: what became of the pages so far on a device. */
export interface EngineCountsMessage {
  type: "counts";
  engineCounts: EngineCounts;
}

/** The last message of a channel. */
export type WorkerEnd = { type: "done" } | { type: "error"; error: ErrorMessage };

/** A channel's first message to its worker: be a sending channel. */
export interface SendTask {
  kind: "send";
  id: number;
  to: Address;
  /** Longest time a connect may take, in milliseconds; 0 for no limit. */
  timeout: number;
  method: string;
  level: number;
  engine: string | undefined;
  dense: boolean;
  fallback: boolean;
  verify: boolean;
  uadkCompress: boolean;
  zeroPages: ZeroPages;
  pageSize: number;
  uuid: Uint8Array;
  blocks: RamBlock[];
  source: SharedRam;
  counters: SharedArrayBuffer;
  work: SharedArrayBuffer;
  /** Messages with zero pages that are not on the main channel yet. */
  zeros: SharedArrayBuffer;
  /** The rate that all channels keep to. */
  limit: SharedArrayBuffer | undefined;
}

/** To a sending worker: send everything, and that it may end. */
export type SendCommand = "start" | "end";

/** From a sending worker. */
export type SendMessage =
  | EngineCountsMessage
  | { /** The method is set up. */ type: "ready" }
  | { /** Greeting and set-up SYNC are out, on this socket. */ type: "begun"; fd: number }
  | { /** Everything is. */ type: "sent"; engineCounts: EngineCounts | undefined }
  | { /** Zero pages for the main channel. */ type: "zeros"; block: string; offsets: Float64Array }
  | WorkerEnd;
