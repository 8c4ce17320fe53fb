/** A wire that fails: it forwards to a port until one connection has carried so many bytes. */
import net from "node:net";

/** What another connection may carry before: were it not held, it could do all of the work. */
const MOST_BEFORE = 256 * 1024;

/** What happens to the one connection. */
export type WireFault =
  /** Its end is all that comes behind those bytes, on both sides. */
  | "cut"
  /** Both sides' connections are reset. */
  | "reset"
  /** The receiver sees its end; what the sender goes on to send is lost. */
  | "half-close"
  /** Nothing moves for a while. */
  | "stall";

/** Where a fault strikes. */
export interface Strike {
  fault: WireFault;
  /** Which connection: 0 is the main channel, which is the first. */
  ordinal: number;
  /** After how many bytes from the sender. */
  after: number;
  /** How long a stall lasts, in milliseconds; without it, as long as the wire. */
  stall?: number;
}

/** A port in front of another. */
export interface Wire {
  address: string;
  /** Whether it has struck. */
  readonly hasStruck: boolean;
  close(): void;
}

/** Opens a wire to a port of this machine. */
export async function faultyWire(port: number, strike: Strike): Promise<Wire> {
  const all = new Set<net.Socket>();
  const held = new Set<net.Socket>();
  let connections = 0;
  let hasStruck = false;

  const hit = (client: net.Socket, upstream: net.Socket, last: Uint8Array): void => {
    hasStruck = true;
    for (const socket of held) socket.resume();
    upstream.write(last);
    if (strike.fault === "stall") {
      const pair = [client, upstream];
      for (const socket of pair) socket.pause();
      if (strike.stall === undefined) return;
      setTimeout(() => pair.forEach((socket) => socket.resume()), strike.stall);
    } else if (strike.fault === "reset") {
      client.resetAndDestroy();
      upstream.resetAndDestroy();
    } else {
      upstream.end();
      if (strike.fault === "cut") client.destroy();
    }
  };

  const server = net.createServer({ allowHalfOpen: true }, (client) => {
    const own = connections++;
    const isHit = own === strike.ordinal;
    const upstream = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true });
    all.add(client).add(upstream);
    const drop = (): void => {
      client.destroy();
      upstream.destroy();
    };
    let carried = 0;
    let isOver = false;
    client.on("data", (chunk: Uint8Array) => {
      if (isOver) return;
      carried += chunk.length;
      if (isHit && !hasStruck && carried > strike.after) {
        const kept = chunk.length - (carried - strike.after);
        isOver = strike.fault !== "stall";
        hit(client, upstream, isOver ? chunk.subarray(0, kept) : chunk);
        return;
      }
      upstream.write(chunk);
      if (isHit || own === 0 || strike.ordinal === 0 || hasStruck || carried < MOST_BEFORE) return;
      client.pause();
      held.add(client);
    });
    upstream.on("data", (chunk: Uint8Array) => client.write(chunk));
    client.on("end", () => isOver || upstream.end());
    upstream.on("end", () => client.end());
    client.on("error", drop);
    upstream.on("error", drop);
    client.on("close", () => upstream.destroy());
    upstream.on("close", () => client.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    address: `127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    get hasStruck() {
      return hasStruck;
    },
    close: () => {
      server.close();
      for (const socket of all) socket.destroy();
    },
  };
}
