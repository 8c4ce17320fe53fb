/** A peer that does not mean well: floods, dribbles, reads nothing, and goes on until it is cut off. */
import { once } from "node:events";
import net from "node:net";

/** Bytes of a flood that are written at once. */
const WAVE = 256 * 1024;

/** Where the receiver listens. */
export type Target = { port: number } | { path: string };

/** One connection of a hostile peer. */
export class HostilePeer {
  readonly socket: net.Socket;
  /** Whether the other side has cut it off. */
  isCutOff = false;
  readonly cutOff: Promise<void>;

  private constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on("error", () => {});
    this.cutOff = new Promise((resolve) => {
      const end = (): void => {
        this.isCutOff = true;
        resolve();
        socket.destroy();
      };
      socket.on("close", end);
      socket.on("end", end);
    });
  }

  /** Connects; what comes is read and thrown away, unless it is to read nothing. */
  static async connect(target: Target, readsNothing = false): Promise<HostilePeer> {
    const socket = "path" in target
      ? net.connect({ path: target.path, allowHalfOpen: true })
      : net.connect({ host: "127.0.0.1", port: target.port, allowHalfOpen: true });
    await once(socket, "connect");
    const peer = new HostilePeer(socket);
    if (readsNothing) socket.pause();
    else socket.resume();
    return peer;
  }

  /** Writes bytes, and waits while the other side is slow. */
  async write(...parts: Uint8Array[]): Promise<void> {
    for (const part of parts) {
      if (this.isCutOff) return;
      const hasRoom = this.socket.write(part.slice());
      if (!hasRoom) await Promise.race([once(this.socket, "drain").catch(() => {}), this.cutOff]);
    }
  }

  /** Writes the same again and again until it is cut off, or so many bytes went out. */
  async flood(unit: Uint8Array, most = Infinity, pause = 0): Promise<void> {
    const count = Math.max(1, Math.floor(WAVE / unit.length));
    const wave = new Uint8Array(count * unit.length);
    for (let i = 0; i < count; i++) wave.set(unit, i * unit.length);
    for (let sent = 0; sent < most && !this.isCutOff; sent += wave.length) {
      await this.write(wave);
      if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /** Writes a byte, and another, with a pause between, until it is cut off. */
  async dribble(bytes: Uint8Array, pause: number): Promise<void> {
    this.socket.setNoDelay(true);
    for (let i = 0; !this.isCutOff; i++) {
      await this.write(bytes.subarray(i % bytes.length, i % bytes.length + 1));
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}
