/** The threads of a migration's channels. */
import { type ChannelPort, ChannelWorker } from "./channel_worker.ts";

/**
 * Most threads of a migration. With 16 channels on two cores, a thread for each took 1.3 to 1.5
 * times as long as two: every one of them loads and compiles the same code.
 */
export const MOST_THREADS: number = Math.max(2, navigator.hardwareConcurrency);

/** As many threads as there are channels, up to the number of cores. */
export class ChannelWorkers {
  readonly #workers: ChannelWorker[] = [];

  /** Starts threads before there are channels: they take longer than a connection. */
  start(channels: number): void {
    const count = Math.min(channels, MOST_THREADS);
    for (let i = 0; i < count; i++) this.#workers[i] ??= new ChannelWorker();
  }

  /** Has each receive something that was made up, so that its code is compiled. */
  rehearse(): void {
    for (const worker of this.#workers) worker?.rehearse();
  }

  /**
   * Blocks in a thread that has nothing else to do yet until somebody connects.
   *
   * @param socket A listening socket.
   * @param begin Asked right before whether it still shall.
   */
  async watch(socket: number, begin: () => boolean): Promise<void> {
    await this.#workers[0]?.watch(socket, begin);
  }

  /** A place for a channel. */
  open<Message extends { type: string }>(channel: number): ChannelPort<Message> {
    const worker = this.#workers[channel % MOST_THREADS] ??= new ChannelWorker();
    return worker.open(channel);
  }

  /** Ends threads that no channel came for. */
  async stop(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker?.stopIdle()));
  }
}
