/** A network of our own: a second host as a network namespace, and a link of a given speed to it. */
import { execFileSync } from "node:child_process";
import process from "node:process";

/** Bytes that may wait for the link: more than all sockets' buffers, so that nothing is lost. */
const QUEUE = 64 << 20;
/** Milliseconds' worth that may go out at once: a timer's tick. */
const BURST_MS = 4;
const LEAST_BURST = 256 << 10;

/**
 * Bytes that tbf counts for each byte of TCP: a frame's 1514 for 1448, also where the
 * kernel hands it many frames as one.
 */
export const TBF_FRAMING = 1514 / 1448;

function run(...command: string[]): void {
  execFileSync(command[0]!, command.slice(1), { stdio: ["ignore", "ignore", "inherit"] });
}

/** A host at the other end of a link, gone when the process ends. Needs root and iproute2. */
export class FarHost {
  /** Its address. */
  readonly address: string;
  /** What runs a command on it. */
  readonly prefix: readonly string[];
  readonly #device: string;

  constructor() {
    const name = `multifd-${process.pid}`;
    const network = `10.99.${process.pid % 256}`;
    this.#device = `mfd${process.pid}`;
    this.address = `${network}.2`;
    this.prefix = ["ip", "netns", "exec", name];
    run("ip", "netns", "add", name);
    process.once("exit", () => run("ip", "netns", "del", name));
    run("ip", "link", "add", this.#device, "type", "veth", "peer", "name", "far", "netns", name);
    run("ip", "addr", "add", `${network}.1/24`, "dev", this.#device);
    run("ip", "link", "set", this.#device, "up");
    run("ip", "-n", name, "addr", "add", `${this.address}/24`, "dev", "far");
    run("ip", "-n", name, "link", "set", "far", "up");
    run("ip", "-n", name, "link", "set", "lo", "up");
  }

  /** Lets so many bits per second through to it; Infinity for as many as there are. */
  shape(bitsPerSecond: number): void {
    const device = ["dev", this.#device, "root"];
    if (bitsPerSecond === Infinity) return run("tc", "qdisc", "replace", ...device, "noqueue");
    const burst = Math.max(LEAST_BURST, Math.round(bitsPerSecond / 8 * BURST_MS / 1000));
    const rate = ["rate", `${bitsPerSecond}bit`, "burst", String(burst), "limit", String(QUEUE)];
    run("tc", "qdisc", "replace", ...device, "tbf", ...rate);
  }
}
