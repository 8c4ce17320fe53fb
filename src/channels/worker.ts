/** The thread of one channel: blocking sockets, files and codecs, the same channel code. */
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
import { setUpSender } from "./verify.ts";
import type {
  IdleTask,
  ReceiveMessage,
  ReceiveTask,
  ReleaseMessage,
  SendCommand,
  SendMessage,
  SendTask,
  WorkerStart,
} from "./worker_messages.ts";

/** How often the main thread hears of a device, in milliseconds: as often as it tells. */
const COUNTS_MS = 250;

/** Numbers of packets that are told at once: a round may be of any length. */
const PACKETS_TOLD = 4 * 1024;

/** This thread as a web worker, which starts in half of the time of one of node:worker_threads. */
const thread = globalThis as unknown as Pick<Worker, "onmessage" | "postMessage">;

const messages: unknown[] = [];
let wake: () => void = () => {};
thread.onmessage = ({ data }: MessageEvent) => {
  messages.push(data);
  wake();
};

/** The next message of the main thread; none is lost while nobody waits. */
async function nextMessage<T>(): Promise<T> {
  while (messages.length === 0) await new Promise<void>((resolve) => wake = resolve);
  return messages.shift() as T;
}

function tell(message: ReceiveMessage | SendMessage | WorkerStart): void {
  thread.postMessage(message);
}

/** Makes a function that tells, a few times a second, what became of the pages on a device. */
function tellNowAndThen(counts: () => EngineCounts | undefined): () => void {
  let due = performance.now() + COUNTS_MS;
  return () => {
    const now = performance.now();
    if (now < due) return;
    due = now + COUNTS_MS;
    const engineCounts = counts();
    if (engineCounts !== undefined) tell({ type: "counts", engineCounts });
  };
}

/** A device's side of a channel that tells of itself while it works. */
function telling(sender: MethodSender): MethodSender {
  const tellCounts = tellNowAndThen(() => sender.counts?.());
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
    leave: (): void => tell({ type: "leave" }),
  };
  readonly packetNumbers = {
    add: (packet: RamPacket): void => {
      if (this.#method.agreed?.engine?.isDevice === true) this.#tellCounts();
      this.#packets.push(packet.packetNum, packet.flags, packet.pagesAlloc, packet.zeroPages);
      if (this.#packets.length < PACKETS_TOLD) return;
      tell({ type: "packets", packets: Float64Array.from(this.#packets.splice(0)) });
    },
  };
  ram: GuestRam | undefined;
  isEnding = false;
  readonly fallback: boolean;
  readonly verify: boolean;
  /** What became of the pages on an engine with a device, so far. */
  engineCounts: () => EngineCounts | undefined = () => undefined;
  readonly #state: SharedState;
  readonly #method: MethodAgreement;
  readonly #loops = nativePageLoops();
  readonly #tellCounts = tellNowAndThen(() => this.engineCounts());
  #access: SharedRamAccess | undefined;
  #packets: number[] = [];

  constructor(task: ReceiveTask) {
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
    tell({ type: "quiet" });
  }

  methodOf(flags: number): AgreedMethod {
    return this.#method.of(flags);
  }

  async #stop(): Promise<void> {
    const released = nextMessage<ReleaseMessage | "stop">();
    tell({
      type: "sync",
      packets: Float64Array.from(this.#packets.splice(0)),
      repeated: this.ram?.repeated ?? 0,
      engineCounts: this.engineCounts(),
    });
    if (this.ram !== undefined) this.ram.repeated = 0;
    const message = await released;
    if (message === "stop") throw new CancelledError("Channel was stopped");
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

async function receive(task: ReceiveTask): Promise<void> {
  const session = new WorkerSession(task);
  const connection = new BlockingConnection(task.fd, `channel ${task.id}`);
  connection.bytesRead = GREETING_SIZE;
  const counters = makeCounters(task.id, task.counters);
  try {
    const channel = new ReceivingChannel(task.id, connection, session, counters, nativePageLoops());
    session.engineCounts = () => channel.engineCounts;
    await channel.run();
  } finally {
    session.close();
  }
}

async function send(task: SendTask): Promise<void> {
  const method = methodByName(task.method)!;
  const engine = selectEngine(method, "encodes", task.engine);
  const counters = makeCounters(task.id, task.counters);
  const sender = await setUpSender(method, { ...task, engine }, () => counters.verifyCaught++);
  const source = new SharedRamAccess(task.source, task.blocks);
  try {
    tell({ type: "ready" });
    let channel: SendingChannel | undefined;
    for (;;) {
      const command = await nextMessage<SendCommand>();
      if (command === "end") return;
      let fd: number | undefined;
      if (command === "connect") {
        const name = `channel ${task.id}`;
        fd = connectNatively(task.to, name, task.timeout);
        channel = new SendingChannel({
          ...task,
          connection: new BlockingConnection(fd, name),
          method,
          sender: engine?.isDevice === true ? telling(sender) : sender,
          source,
          work: new PageWork(task.blocks, task.work),
          limit: task.limit && new RateLimit(task.limit, true),
          loops: nativePageLoops(),
          sendZeroPages: (block, offsets) => tell({ type: "zeros", block, offsets }),
          counters,
        });
        await channel.greet(task.uuid);
      } else {
        await channel![command]();
      }
      const engineCounts = sender.counts?.();
      tell({ type: "ok", ...(fd === undefined ? {} : { fd }), engineCounts });
    }
  } finally {
    sender.cleanup();
    source.close();
  }
}

takeWorkerSettings(await nextMessage<WorkerSettings>());
// before there is anything to do: a spare worker has loaded everything when its channel comes
tell({ type: "started", thread: nativeIo().thread_id() });
const task = await nextMessage<ReceiveTask | SendTask | IdleTask>();
try {
  if (task.kind === "receive") await receive(task);
  else if (task.kind === "send") await send(task);
  tell({ type: "done" });
} catch (error) {
  tell({ type: "error", error: packError(error) });
}
