/** A receiving channel in its worker. */
import { openCalls } from "../../ffi/io.ts";
import type { EngineCounts } from "../engines/engine.ts";
import { CancelledError } from "../errors.ts";
import { GREETING_SIZE } from "../protocol/greeting.ts";
import type { RamPacket } from "../protocol/ram_packet.ts";
import { GuestRam } from "../ram/guest_ram.ts";
import { SharedRamAccess } from "../ram/shared_ram.ts";
import { WriteTurn } from "../ram/write_turn.ts";
import { BlockingConnection } from "../transport/native.ts";
import type { AgreedMethod, ChannelSession } from "./channel_session.ts";
import { makeCounters } from "./counters.ts";
import { type Line, tellNowAndThen } from "./line.ts";
import { MethodAgreement } from "./method_agreement.ts";
import { nativePageLoops } from "./native_page_loops.ts";
import { ReceivingChannel } from "./receiving_channel.ts";
import { SharedState } from "./shared_state.ts";
import type { ThreadTurns } from "./thread_turns.ts";
import type { ReceiveTask, ReleaseMessage } from "./worker_messages.ts";

/** Numbers of packets that are told at once: a round may be of any length. */
const PACKETS_TOLD = 4 * 1024;

/** What the first packet would wait for. */
const CALLS = [
  "bytes_to_aligned",
  "net_recv",
  "file_open",
  "file_write_pages",
  "offsets_read",
  "pages_mark",
] as const;

/** The turns of a thread's channels, as one of them needs them. */
export type ChannelTurns = Pick<ThreadTurns, "join" | "begin" | "rest" | "wait">;

/** The migration as this thread sees it; the main thread has the barrier. */
class WorkerSession implements ChannelSession {
  readonly pageSize: Promise<number>;
  readonly barrier = {
    stop: (): Promise<void> => this.#stop(),
    leave: (): void => this.#line.tell({ type: "leave" }),
  };
  readonly packetNumbers = {
    add: (packet: RamPacket): void => {
      if (this.#method.agreed?.engine?.isDevice === true) this.#tellCounts();
      this.#packets.push(packet.packetNum, packet.flags, packet.pagesAlloc, packet.zeroPages);
      if (this.#packets.length < PACKETS_TOLD) return;
      this.#line.tell({ type: "packets", packets: Float64Array.from(this.#packets.splice(0)) });
    },
  };
  ram: GuestRam | undefined;
  isEnding = false;
  readonly fallback: boolean;
  readonly verify: boolean;
  /** What became of the pages on an engine with a device, so far. */
  engineCounts: () => EngineCounts | undefined = () => undefined;
  readonly #line: Line;
  readonly #turns: ChannelTurns;
  readonly #channel: number;
  readonly #state: SharedState;
  readonly #method: MethodAgreement;
  readonly #loops = nativePageLoops();
  readonly #tellCounts: () => void;
  #access: SharedRamAccess | undefined;
  #packets: number[] = [];

  constructor(line: Line, turns: ChannelTurns, task: ReceiveTask) {
    this.#line = line;
    this.#tellCounts = tellNowAndThen(line, () => this.engineCounts());
    this.#turns = turns;
    this.#channel = task.id;
    this.pageSize = Promise.resolve(task.pageSize);
    this.fallback = task.fallback;
    this.verify = task.verify;
    this.#state = new SharedState(task.state);
    this.#method = new MethodAgreement(this.#state, task.method, task.engine);
  }

  get isOver(): boolean {
    return this.#state.isOver;
  }

  begin(channel: number): void {
    this.#state.begin(channel);
  }

  quiet(): void {
    this.#line.tell({ type: "quiet" });
  }

  methodOf(flags: number): AgreedMethod {
    return this.#method.of(flags);
  }

  async #stop(): Promise<void> {
    this.#line.tell({
      type: "sync",
      packets: Float64Array.from(this.#packets.splice(0)),
      repeated: this.ram?.repeated ?? 0,
      engineCounts: this.engineCounts(),
    });
    if (this.ram !== undefined) this.ram.repeated = 0;
    this.#turns.rest(this.#channel);
    const message = await this.#line.next<ReleaseMessage | "stop">();
    if (message === "stop") throw new CancelledError("Channel was stopped");
    this.#turns.begin();
    const { isEnding, ram } = message;
    this.isEnding = isEnding;
    if (ram === undefined) return;
    this.#access = new SharedRamAccess(ram.target, ram.blocks, new WriteTurn(ram.turn));
    const { blocks, pageSize, received } = ram;
    this.ram = new GuestRam(blocks, pageSize, this.#access, received, this.#loops.markPages);
  }

  close(): void {
    this.#access?.close();
  }
}

/**
 * Receives a channel.
 *
 * @param line To the main thread, which has the barrier.
 * @param turns Those of the thread's channels.
 * @param task What to receive.
 */
export async function receiveInWorker(
  line: Line,
  turns: ChannelTurns,
  task: ReceiveTask,
): Promise<void> {
  const { id, fd } = task;
  openCalls(CALLS);
  const session = new WorkerSession(line, turns, task);
  const wait = (connection: BlockingConnection) => turns.wait(id, connection);
  const connection = new BlockingConnection(fd, `channel ${id}`, wait);
  connection.bytesRead = GREETING_SIZE;
  const counters = makeCounters(id, task.counters);
  try {
    const channel = new ReceivingChannel(id, connection, session, counters, nativePageLoops());
    session.engineCounts = () => channel.engineCounts;
    turns.join(id);
    await channel.run();
  } finally {
    session.close();
  }
}
