/** A worker for channels, as the main thread holds it. */
import { workerSettings } from "../../ffi/find.ts";
import { nativeIo } from "../../ffi/io.ts";
import { EngineError, unpackError } from "../errors.ts";
import type {
  ArrivalMessage,
  ForChannel,
  RehearseMessage,
  WatchMessage,
  WorkerEnd,
  WorkerStart,
} from "./worker_messages.ts";

/**
 * How long a task may take to end once its socket is shut down, in milliseconds: a thread that is
 * ended in a write that a busy disk takes seconds for never closes its files.
 */
const STOP_MS = 10_000;
/** How often a thread is looked for, in milliseconds: Deno does not tell when one has ended. */
const LOOK_MS = 250;

/** The worker's module. */
export const WORKER_URL: URL = new URL("./worker.ts", import.meta.url);

interface AnyMessage {
  type: string;
}

/** A thread for one channel or several. */
export class ChannelWorker {
  readonly #worker = new Worker(WORKER_URL, { type: "module" });
  readonly #ports = new Map<number, ChannelPort<AnyMessage>>();
  readonly #started = Promise.withResolvers<void>();
  readonly #arrived = Promise.withResolvers<void>();
  #failure: Error | undefined;
  #hasTask = false;
  #look: ReturnType<typeof setInterval> | undefined;

  constructor() {
    type Heard = WorkerStart | ArrivalMessage | ForChannel<AnyMessage>;
    this.#worker.onmessage = ({ data }: MessageEvent<Heard>) => {
      if ("thread" in data) this.#lookFor(data.thread);
      else if ("type" in data) this.#arrived.resolve();
      else this.#ports.get(data.channel)?.take(data.message);
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(`Channel's worker failed: ${event.message}`);
    };
    this.#worker.postMessage(workerSettings());
  }

  #lookFor(thread: number): void {
    this.#started.resolve();
    this.#look = setInterval(() => {
      if (nativeIo().thread_is_alive(thread) === 0) {
        this.#fail("Channel's worker ended without a word");
      }
    }, LOOK_MS);
  }

  #fail(why: string): void {
    clearInterval(this.#look);
    this.#failure ??= new EngineError(why);
    this.#started.resolve();
    this.#arrived.resolve();
    for (const port of this.#ports.values()) port.fail();
  }

  /** What ended the thread before its channels; each gets an error of its own. */
  get failure(): Error | undefined {
    return this.#failure && new EngineError(this.#failure.message);
  }

  /** Has the thread rehearse a receiving channel, if it has nothing else to do yet. */
  async rehearse(): Promise<void> {
    await this.#started.promise;
    if (this.#hasTask || this.#failure !== undefined) return;
    this.#worker.postMessage({ rehearse: true } satisfies RehearseMessage);
  }

  /** Blocks in the thread, while it has nothing else to do, until somebody connects. */
  async watch(socket: number, begin: () => boolean): Promise<void> {
    await this.#started.promise;
    if (this.#hasTask || this.#failure !== undefined || !begin()) return;
    this.#worker.postMessage({ watch: socket } satisfies WatchMessage);
    await this.#arrived.promise;
  }

  /** A channel that lives there. */
  open<Message extends AnyMessage>(channel: number): ChannelPort<Message> {
    const port = new ChannelPort<Message>(this, channel);
    this.#ports.set(channel, port as unknown as ChannelPort<AnyMessage>);
    if (this.#failure !== undefined) port.fail();
    return port;
  }

  /** Posts a message for a channel; its first one is its task. */
  post(channel: number, message: unknown): void {
    this.#hasTask = true;
    this.#worker.postMessage({ channel, message });
  }

  /** Ends the thread if no channel ever lived there. */
  async stopIdle(): Promise<void> {
    if (this.#hasTask) return;
    // Deno loses descriptors with a worker that is terminated while it waits for its task
    const port = this.open(0);
    port.post({ kind: "idle" });
    await port.stop();
  }

  /** A channel is over: ends the thread with its last, or one that does not let go of it. */
  leave(channel: number, hasEnded: boolean): void {
    this.#ports.delete(channel);
    if (hasEnded && this.#ports.size > 0) return;
    // nothing that comes late starts the look again
    this.#worker.onmessage = null;
    this.#worker.terminate();
    this.#fail("Channel's worker was ended");
  }
}

/** A channel's messages with its worker, in order. */
export class ChannelPort<Message extends AnyMessage> {
  readonly #worker: ChannelWorker;
  readonly #channel: number;
  readonly #messages: (Message | WorkerEnd)[] = [];
  readonly #ended = Promise.withResolvers<void>();
  #wake: (() => void) | undefined;

  /**
   * @param worker Where the channel lives.
   * @param channel Its number.
   */
  constructor(worker: ChannelWorker, channel: number) {
    this.#worker = worker;
    this.#channel = channel;
  }

  /** Takes a message of the worker. */
  take(message: Message | WorkerEnd): void {
    this.#messages.push(message);
    if (message.type === "done" || message.type === "error") this.#ended.resolve();
    this.#wakeUp();
  }

  /** The worker is no more. */
  fail(): void {
    this.#ended.resolve();
    this.#wakeUp();
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  /** Posts a message; the first one is the channel's task. */
  post(message: unknown): void {
    this.#worker.post(this.#channel, message);
  }

  /**
   * The next message; undefined when the channel is done.
   *
   * @throws What the channel threw.
   */
  async next(): Promise<Message | undefined> {
    for (;;) {
      const message = this.#messages.shift();
      if (message !== undefined) {
        if (message.type === "done") return undefined;
        if (message.type === "error") {
          throw unpackError((message as WorkerEnd & { error: never }).error);
        }
        return message as Message;
      }
      const { failure } = this.#worker;
      if (failure !== undefined) throw failure;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  /** Waits for the end of the task, which someone has told to end; no thread uses its socket then. */
  async stop(): Promise<void> {
    let hasEnded = true;
    const timer = setTimeout(() => {
      hasEnded = false;
      this.#ended.resolve();
    }, STOP_MS);
    await this.#ended.promise;
    clearTimeout(timer);
    this.#worker.leave(this.#channel, hasEnded);
  }
}
