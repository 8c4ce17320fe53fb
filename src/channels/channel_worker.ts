/** A channel's worker, as the main thread holds it. */
import { Worker } from "node:worker_threads";
import { workerSettings } from "../../ffi/find.ts";
import { EngineError, unpackError } from "../errors.ts";
import type { WorkerEnd } from "./worker_messages.ts";

/** How long a task may take to end once its socket is shut down, in milliseconds. */
const STOP_MS = 2000;

/** The worker's module. */
export const WORKER_URL: URL = new URL("./worker.ts", import.meta.url);

/** Starts a worker; one that was imported over HTTP can only be started by importing it. */
function startWorker(): Worker {
  const workerData = workerSettings();
  if (WORKER_URL.protocol === "file:") return new Worker(WORKER_URL, { workerData });
  const load = `import(${JSON.stringify(WORKER_URL.href)})`;
  return new Worker(load, { workerData, eval: true });
}

/** A thread for one channel, and the messages with it in order. */
export class ChannelWorker<Message extends { type: string }> {
  readonly #worker: Worker;
  readonly #messages: (Message | WorkerEnd)[] = [];
  #wake: (() => void) | undefined;
  #failure: Error | undefined;
  readonly #ended = Promise.withResolvers<void>();
  #hasTask = false;
  #hasExited = false;

  constructor() {
    this.#worker = startWorker();
    this.#worker.on("message", (message: Message | WorkerEnd) => {
      this.#messages.push(message);
      if (message.type === "done" || message.type === "error") this.#ended.resolve();
      this.#wakeUp();
    });
    this.#worker.on("error", (cause: Error) => {
      this.#failure ??= new EngineError(`Channel's worker failed: ${cause.message}`, {}, { cause });
      this.#wakeUp();
    });
    this.#worker.on("exit", () => {
      this.#hasExited = true;
      this.#wakeUp();
    });
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
    this.#worker.terminate();
  }
}
