/** A channel's worker, as the main thread holds it. */
import { workerSettings } from "../../ffi/find.ts";
import { nativeIo } from "../../ffi/io.ts";
import { EngineError, unpackError } from "../errors.ts";
import type { WorkerEnd, WorkerStart } from "./worker_messages.ts";

/** How long a task may take to end once its socket is shut down, in milliseconds. */
const STOP_MS = 2000;
/** How often a thread is looked for, in milliseconds: Deno does not tell when one has ended. */
const LOOK_MS = 250;

/** The worker's module. */
export const WORKER_URL: URL = new URL("./worker.ts", import.meta.url);

/** A thread for one channel, and the messages with it in order. */
export class ChannelWorker<Message extends { type: string }> {
  readonly #worker = new Worker(WORKER_URL, { type: "module" });
  readonly #messages: (Message | WorkerEnd)[] = [];
  #wake: (() => void) | undefined;
  #failure: Error | undefined;
  readonly #ended = Promise.withResolvers<void>();
  #hasTask = false;
  #hasExited = false;
  #look: ReturnType<typeof setInterval> | undefined;

  constructor() {
    this.#worker.onmessage = ({ data }: MessageEvent<Message | WorkerStart | WorkerEnd>) => {
      if (data.type === "started") return this.#lookFor((data as WorkerStart).thread);
      this.#messages.push(data as Message | WorkerEnd);
      if (data.type === "done" || data.type === "error") this.#ended.resolve();
      this.#wakeUp();
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#failure ??= new EngineError(`Channel's worker failed: ${event.message}`);
      this.#wakeUp();
    };
    this.#worker.postMessage(workerSettings());
  }

  #lookFor(thread: number): void {
    this.#look = setInterval(() => {
      if (nativeIo().thread_is_alive(thread) !== 0) return;
      clearInterval(this.#look);
      this.#hasExited = true;
      this.#wakeUp();
    }, LOOK_MS);
  }

  #wakeUp(): void {
    if (this.#hasExited || this.#failure !== undefined) this.#ended.resolve();
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  /** Posts a message; the first one is the worker's task. */
  post(message: unknown): void {
    this.#hasTask = true;
    this.#worker.postMessage(message);
  }

  /**
   * The next message; undefined when the worker is done.
   *
   * @throws What the worker threw.
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
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#hasExited) throw new EngineError("Channel's worker ended without a word");
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  /** Waits for the end of the task, which someone has told to end, and ends the thread. */
  async stop(): Promise<void> {
    // Deno loses descriptors with a worker that is terminated while it waits for its task
    if (!this.#hasTask) this.post({ kind: "idle" });
    const timer = setTimeout(() => this.#ended.resolve(), STOP_MS);
    await this.#ended.promise;
    clearTimeout(timer);
    // nothing that comes late starts the look again
    this.#worker.onmessage = null;
    clearInterval(this.#look);
    this.#worker.terminate();
  }
}
