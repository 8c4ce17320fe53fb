/** A thread of one channel or several: blocking sockets, files and codecs, the same channel code. */
import { takeWorkerSettings, type WorkerSettings } from "../../ffi/find.ts";
import { nativeIo } from "../../ffi/io.ts";
import type { EngineCounts } from "../engines/engine.ts";
import { selectEngine } from "../engines/select.ts";
import { CancelledError, packError } from "../errors.ts";
import type { MethodSender } from "../methods/method.ts";
import { methodByName } from "../methods/registry.ts";
import { GREETING_SIZE } from "../protocol/greeting.ts";
import type { RamPacket } from "../protocol/ram_packet.ts";
import { GuestRam } from "../ram/guest_ram.ts";
import { SharedRamAccess } from "../ram/shared_ram.ts";
import { WriteTurn } from "../ram/write_turn.ts";
import { BlockingConnection, connectNatively } from "../transport/native.ts";
import type { AgreedMethod, ChannelSession } from "./channel_session.ts";
import { makeCounters } from "./counters.ts";
import { MethodAgreement } from "./method_agreement.ts";
import { nativePageLoops } from "./native_page_loops.ts";
import { PageWork } from "./page_work.ts";
import { RateLimit } from "./rate_limit.ts";
import { ReceivingChannel } from "./receiving_channel.ts";
import { SharedState } from "./shared_state.ts";
import { SendingChannel } from "./sending_channel.ts";
import { ThreadTurns } from "./thread_turns.ts";
import { setUpSender } from "./verify.ts";
import type {
  ArrivalMessage,
  ForChannel,
  IdleTask,
  ReceiveMessage,
  ReceiveTask,
  ReleaseMessage,
  SendCommand,
  SendMessage,
  SendTask,
  WatchMessage,
  WorkerStart,
} from "./worker_messages.ts";

/** How often the main thread hears of a device, in milliseconds: as often as it tells. */
const COUNTS_MS = 250;

/** Numbers of packets that are told at once: a round may be of any length. */
const PACKETS_TOLD = 4 * 1024;

/** This thread as a web worker, which starts in half of the time of one of node:worker_threads. */
const thread = globalThis as unknown as Pick<Worker, "onmessage" | "postMessage">;

/** Of the channels here. */
let turns: ThreadTurns | undefined;

/** A channel's line to the main thread. */
class Line {
  readonly #channel: number;
  readonly #messages: unknown[] = [];
  #wake: () => void = () => {};

  constructor(channel: number) {
    this.#channel = channel;
  }

  take(message: unknown): void {
    this.#messages.push(message);
    this.#wake();
  }

  /** The next message of the main thread; none is lost while nobody waits. */
  async next<T>(): Promise<T> {
    while (this.#messages.length === 0) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    return this.#messages.shift() as T;
  }

  tell(message: ReceiveMessage | SendMessage): void {
    thread.postMessage({ channel: this.#channel, message });
  }
}

/** Makes a function that tells, a few times a second, what became of the pages on a device. */
function tellNowAndThen(line: Line, counts: () => EngineCounts | undefined): () => void {
  let due = performance.now() + COUNTS_MS;
  return () => {
    const now = performance.now();
    if (now < due) return;
    due = now + COUNTS_MS;
    const engineCounts = counts();
    if (engineCounts !== undefined) line.tell({ type: "counts", engineCounts });
  };
}

/** A device's side of a channel that tells of itself while it works. */
function telling(line: Line, sender: MethodSender): MethodSender {
  const tellCounts = tellNowAndThen(line, () => sender.counts?.());
  return {
    prepare(pages, out) {
      tellCounts();
      return sender.prepare(pages, out);
    },
    cleanup: () => sender.cleanup(),
  };
}

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
  readonly #turns: ThreadTurns;
  readonly #channel: number;
  readonly #state: SharedState;
  readonly #method: MethodAgreement;
  readonly #loops = nativePageLoops();
  readonly #tellCounts: () => void;
  #access: SharedRamAccess | undefined;
  #packets: number[] = [];

  constructor(line: Line, turns: ThreadTurns, task: ReceiveTask) {
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

async function receive(line: Line, task: ReceiveTask): Promise<void> {
  turns ??= new ThreadTurns(false);
  const session = new WorkerSession(line, turns, task);
  const connection = connectionOf(task.fd, task.id);
  connection.bytesRead = GREETING_SIZE;
  const counters = makeCounters(task.id, task.counters);
  try {
    const channel = new ReceivingChannel(task.id, connection, session, counters, nativePageLoops());
    session.engineCounts = () => channel.engineCounts;
    turns.join(task.id);
    await channel.run();
  } finally {
    session.close();
  }
}

async function send(line: Line, task: SendTask): Promise<void> {
  turns ??= new ThreadTurns(true);
  // before any of the thread's channels is connected: until all are, none may block the others
  turns.join(task.id);
  const method = methodByName(task.method)!;
  const engine = selectEngine(method, "encodes", task.engine);
  const counters = makeCounters(task.id, task.counters);
  const sender = await setUpSender(method, { ...task, engine }, () => counters.verifyCaught++);
  const source = new SharedRamAccess(task.source, task.blocks);
  try {
    line.tell({ type: "ready" });
    if (await line.next<SendCommand>() === "end") return;
    const fd = connectNatively(task.to, `channel ${task.id}`, task.timeout);
    const channel = new SendingChannel({
      ...task,
      connection: connectionOf(fd, task.id),
      method,
      sender: engine?.isDevice === true ? telling(line, sender) : sender,
      source,
      work: new PageWork(task.blocks, task.work),
      limit: task.limit && new RateLimit(task.limit, true),
      loops: nativePageLoops(),
      sendZeroPages: (block, offsets) => line.tell({ type: "zeros", block, offsets }),
      counters,
    });
    await channel.begin(task.uuid);
    line.tell({ type: "begun", fd });
    await channel.sendAll();
    line.tell({ type: "sent", engineCounts: sender.counts?.() });
    // only now: the thread may block in another channel from here on
    turns.rest(task.id);
    await line.next<SendCommand>();
  } finally {
    sender.cleanup();
    source.close();
  }
}

function connectionOf(fd: number, channel: number): BlockingConnection {
  const wait = (connection: BlockingConnection) => turns!.wait(channel, connection);
  return new BlockingConnection(fd, `channel ${channel}`, wait);
}

async function serve(line: Line): Promise<void> {
  const task = await line.next<ReceiveTask | SendTask | IdleTask>();
  try {
    if (task.kind === "receive") await receive(line, task);
    else if (task.kind === "send") await send(line, task);
    line.tell({ type: "done" });
  } catch (error) {
    line.tell({ type: "error", error: packError(error) });
  }
  // here, too
  if (task.kind !== "idle") turns?.leave(task.id);
}

function watch(socket: number): void {
  nativeIo().net_poll(Int32Array.of(socket), 1, 0, 1, new Uint8Array(1));
  thread.postMessage({ type: "arrived" } satisfies ArrivalMessage);
}

const lines = new Map<number, Line>();
thread.onmessage = ({ data: settings }: MessageEvent<WorkerSettings>) => {
  takeWorkerSettings(settings);
  thread.onmessage = ({ data }: MessageEvent<ForChannel<unknown> | WatchMessage>) => {
    if ("watch" in data) return watch(data.watch);
    const { channel, message } = data;
    let line = lines.get(channel);
    if (line === undefined) {
      line = new Line(channel);
      lines.set(channel, line);
      serve(line);
    }
    line.take(message);
  };
  // before there is anything to do: a spare worker has loaded everything when its channel comes
  thread.postMessage({ type: "started", thread: nativeIo().thread_id() } satisfies WorkerStart);
};
