/** A source, written by hand, that waits before it comes to its end. */
import { RawPeer } from "../migration/_migrate.ts";
import { makeScript, type Script } from "../migration/_script.ts";

/** PONG to the script's PING. */
export const PONG = [0, 2, 0, 4, 0, 0, 0, 9];
/** SHUT, which tells the source how it went. */
export const SHUT_0 = [0, 1, 0, 4, 0, 0, 0, 0];
export const SHUT_1 = [0, 1, 0, 4, 0, 0, 0, 1];

/** A source that has sent some pages and, until it is told, no more. */
export class PausedSource {
  readonly #script: Script;
  readonly #peers: RawPeer[];

  private constructor(script: Script, peers: RawPeer[]) {
    this.#script = script;
    this.#peers = peers;
  }

  /** Connects, and sends what comes before the last syncs. */
  static async connect(port: number, script = makeScript()): Promise<PausedSource> {
    const { head, returnPath, ping, start } = script.main;
    const main = await RawPeer.connect(port);
    main.write(head, returnPath, ping, start);
    const peers = [main];
    for (const { greeting, setup, data } of script.channels) {
      peers.push((await RawPeer.connect(port)).write(greeting, setup, data));
    }
    return new PausedSource(script, peers);
  }

  /** Sends the rest. */
  goOn(): void {
    const { part, end, tail } = this.#script.main;
    const [main, ...channels] = this.#peers;
    for (const [i, { partSync, endSync }] of this.#script.channels.entries()) {
      channels[i]!.write(partSync, endSync);
    }
    main!.write(part, end, tail);
  }

  /** What the receiver said by its first SHUT; then closes, as a source does. */
  async answer(): Promise<number[]> {
    const answer = Array.from(await this.#peers[0]!.read(PONG.length + SHUT_0.length));
    for (const { socket } of this.#peers) socket.end();
    return answer;
  }

  /** What the receiver said after that, until it had closed. */
  async afterwards(): Promise<number[]> {
    const main = this.#peers[0]!;
    await main.closed;
    return main.received;
  }
}
