/** Helpers: a migration within this process, and images to move. */
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import {
  MemoryImage,
  type MigrationInfo,
  receive,
  type Received,
  type ReceiveOptions,
  send,
  type SendOptions,
} from "../../mod.ts";
import { Random } from "../_random.ts";

/** Both transports: what holds for one must hold for the other. */
export const TRANSPORTS = ["runtime", "native"] as const;

/** A new temporary directory. */
export function temporaryDirectory(): string {
  return fs.mkdtempSync(path.join(os.tmpdir(), "multifd-test-"));
}

/** A temporary directory for all tests of a file; gone when they are through. */
export function lastingDirectory(): string {
  const directory = temporaryDirectory();
  const remove = (): void => fs.rmSync(directory, { recursive: true });
  // a test's process does not say that it exits under Deno, and runs all files under Bun
  if ("Deno" in globalThis) globalThis.addEventListener("unload", remove);
  else process.once("exit", remove);
  return directory;
}

/** Starts a receiver; its address is known when this returns. */
export async function startReceiver(
  options: Partial<ReceiveOptions> = {},
): Promise<{ address: string; port: number; received: Promise<Received>; image: MemoryImage }> {
  const image = new MemoryImage();
  const listening = Promise.withResolvers<string>();
  const received = receive({
    listen: "127.0.0.1:0",
    into: image,
    timeout: 5000,
    // a sender may fail before it connects
    acceptTimeout: 60_000,
    transport: "runtime",
    engine: "builtin",
    ...options,
    onEvent: (event) => {
      if (event.type === "listening") listening.resolve(event.address);
      options.onEvent?.(event);
    },
  });
  received.catch((error) => listening.reject(error));
  const address = await listening.promise;
  return { address, port: Number(address.split(":").at(-1)), received, image };
}

/** Moves an image from memory to memory. */
export async function migrate(
  image: SendOptions["image"],
  sendOptions: Partial<SendOptions> = {},
  receiveOptions: Partial<ReceiveOptions> = {},
): Promise<{ sent: MigrationInfo; received: Received; image: MemoryImage }> {
  const receiver = await startReceiver(receiveOptions);
  const [sent, received] = await Promise.all([
    send({
      image,
      to: receiver.address,
      timeout: 5000,
      transport: "runtime",
      engine: "builtin",
      ...sendOptions,
    }),
    receiver.received,
  ]);
  return { sent, received, image: receiver.image };
}

/** Pages of every kind: zero, random, text, and what is in between. */
export function mixedPages(pages: number, pageSize: number, seed: number): Uint8Array {
  const random = new Random(seed);
  const bytes = new Uint8Array(pages * pageSize);
  for (let i = 0; i < pages; i++) {
    const page = bytes.subarray(i * pageSize, (i + 1) * pageSize);
    const kind = random.below(4);
    if (kind === 1) page.set(random.bytes(pageSize));
    if (kind === 2) page.forEach((_, at) => page[at] = 32 + (at * 7 + i) % 64);
    if (kind === 3) page[random.below(pageSize)] = 1 + random.below(255);
  }
  return bytes;
}

/** The same in shared memory. */
export function sharedPages(pages: number, pageSize: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(new SharedArrayBuffer(pages * pageSize));
  bytes.set(mixedPages(pages, pageSize, seed));
  return bytes;
}

/** A guest of several blocks. */
export function guest(pageSize = 4096, seed = 1): MemoryImage {
  return new MemoryImage({
    "pc.ram": sharedPages(700, pageSize, seed),
    "/rom@etc/acpi/tables": sharedPages(32, pageSize, seed + 1),
    "pc.bios": sharedPages(1, pageSize, seed + 2),
  }, { pageSize });
}

/** A connection whose bytes the test writes itself. */
export class RawPeer {
  readonly socket: net.Socket;
  readonly received: number[] = [];
  readonly closed: Promise<void>;

  private constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Uint8Array) => this.received.push(...chunk));
    socket.on("error", () => {});
    this.closed = new Promise((resolve) => socket.once("close", () => resolve()));
  }

  /** Connects to a receiver's port. */
  static async connect(port: number): Promise<RawPeer> {
    const socket = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true });
    await once(socket, "connect");
    return new RawPeer(socket);
  }

  /** Writes bytes. */
  write(...parts: Uint8Array[]): this {
    for (const part of parts) this.socket.write(part.slice());
    return this;
  }

  /** Waits for so many bytes of the receiver. */
  async read(count: number): Promise<Uint8Array> {
    while (this.received.length < count && !this.socket.readableEnded) {
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    return Uint8Array.from(this.received.splice(0, count));
  }
}
