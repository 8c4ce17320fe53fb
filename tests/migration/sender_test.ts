import net from "node:net";
import { test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  CancelledError,
  EngineUnavailableError,
  MemoryImage,
  OptionError,
  PeerClosedError,
  PeerFailedError,
  ProtocolError,
  registerMethod,
  send,
  type SendOptions,
  TimedOutError,
} from "../../mod.ts";
import { makeCounters } from "../../src/channels/counters.ts";
import { methodByName } from "../../src/methods/registry.ts";
import { Sender, type SenderChannel } from "../../src/migration/sender.ts";
import { encodeReturnPathMessage } from "../../src/protocol/return_path.ts";
import type { Connection } from "../../src/transport/connection.ts";
import { mixedPages, sharedPages, startReceiver, TRANSPORTS } from "./_migrate.ts";

const image = new MemoryImage({ "pc.ram": sharedPages(300, 4096, 1) });
/** More than any socket holds. */
const tooLarge = new MemoryImage({ "pc.ram": sharedPages(8192, 4096, 2) });

/** A destination that does with its connections what the test says; returns its address. */
async function destination(
  onConnection: (socket: net.Socket, ordinal: number) => void,
): Promise<{ to: string; close: () => void }> {
  const sockets: net.Socket[] = [];
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    onConnection(socket, sockets.push(socket) - 1);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  return {
    to: `127.0.0.1:${port}`,
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** Sends to a destination made for the test. */
async function sendTo(
  onConnection: (socket: net.Socket, ordinal: number) => void,
  options: Partial<SendOptions> = {},
): Promise<unknown> {
  const { to, close } = await destination(onConnection);
  try {
    return await send({ image, to, method: "none", timeout: 800, ...options });
  } finally {
    close();
  }
}

const shut = (status: number): Uint8Array => encodeReturnPathMessage({ type: "shut", status });

for (const transport of TRANSPORTS) {
  test(`send() on ${transport} sockets opens the main channel first and writes at once on each connection`, async () => {
    const first: number[] = [];
    let main: net.Socket | undefined;
    await assertRejects(
      () =>
        sendTo((socket, ordinal) => {
          socket.once("data", (chunk: Uint8Array) => {
            first[ordinal] = chunk[0]!;
            // all three have spoken, though nobody has answered anything
            if (Object.keys(first).length === 3) main!.write(shut(1));
          });
          if (ordinal === 0) main = socket;
        }, { transport }),
      PeerFailedError,
    );
    assertEquals(first, [0x51, 0x11, 0x11]);
  });

  test(`send() on ${transport} sockets reports a destination's SHUT 1 rather than the connections it dropped`, async () => {
    const error = await assertRejects(
      () =>
        sendTo((socket, ordinal) => {
          if (ordinal === 0) setTimeout(() => socket.write(shut(1)), 30);
          else setTimeout(() => socket.destroy(), 20);
        }, { transport }),
      PeerFailedError,
      "expected SHUT 0, received SHUT 1",
    );
    assertEquals(error.facts.channel, "main");
  });

  test(`send() on ${transport} sockets refuses SHUT 0 that comes before everything was sent`, async () => {
    await assertRejects(
      () =>
        sendTo((socket, ordinal) => void (ordinal === 0 && socket.write(shut(0))), {
          transport,
          image: tooLarge,
        }),
      ProtocolError,
      "before everything was sent",
    );
  });

  test(`send() on ${transport} sockets fails when the destination closes the main channel without SHUT`, async () => {
    await assertRejects(
      () =>
        sendTo((socket, ordinal) => {
          socket.resume();
          if (ordinal === 0) setTimeout(() => socket.destroy(), 100);
        }, { transport }),
      PeerClosedError,
      "without SHUT",
    );
  });

  test(`send() on ${transport} sockets gives up when the destination never answers`, async () => {
    await assertRejects(
      () => sendTo((socket) => socket.resume(), { transport }),
      TimedOutError,
      "every page",
    );
  });

  test(`send() on ${transport} sockets gives up when the destination takes nothing`, async () => {
    await assertRejects(
      () => sendTo((socket) => socket.pause(), { image: tooLarge, transport }),
      TimedOutError,
      "to take pages",
    );
  });

  test(`send() on ${transport} sockets names the channel that cannot be connected`, async () => {
    const { to, close } = await destination((_, ordinal) => ordinal === 0 && close());
    await assertRejects(
      () => send({ image, to, method: "none", transport }),
      PeerClosedError,
      "channel",
    );
  });

  test(`send() on ${transport} sockets says where nobody listens`, async () => {
    const { to, close } = await destination(() => {});
    close();
    await assertRejects(
      () => send({ image, to, transport }),
      PeerClosedError,
      `main channel to ${to}`,
    );
  });

  test(`send() on ${transport} sockets ends with the caller's signal`, async () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error("enough")), 50);
    await assertRejects(
      () => sendTo((socket) => socket.resume(), { signal: controller.signal, transport }),
      CancelledError,
      "enough",
    );
  });
}
test("receive() ends with the caller's signal, and its source hears of it", async () => {
  const controller = new AbortController();
  const large = new MemoryImage({ "pc.ram": mixedPages(8192, 4096, 2) });
  const receiver = await startReceiver({
    signal: controller.signal,
    onEvent: (event) => event.type === "setup" && controller.abort(),
  });
  const sent = send({ image: large, to: receiver.address, method: "zlib" });
  const failed = assertRejects(() => sent, PeerFailedError, "SHUT 1");
  await assertRejects(() => receiver.received, CancelledError);
  await failed;
});

/** A main channel whose destination answers SHUT while one of its writes is under way. */
class QuickDestination implements Connection {
  name = "main channel";
  bytesRead = 0;
  bytesWritten = 0;
  #writesBefore: number;
  readonly #answer = Promise.withResolvers<Uint8Array>();

  constructor(writesBefore: number) {
    this.#writesBefore = writesBefore;
  }

  async write(): Promise<void> {
    if (this.#writesBefore-- !== 0) return;
    this.#answer.resolve(shut(0));
    await new Promise((resolve) => setTimeout(resolve, 50));
  }

  readSome(): Promise<Uint8Array> {
    return this.#answer.promise;
  }

  read(): never {
    throw new Error("not used");
  }

  end(): void {}
  destroy(): void {}
}

test("Sender takes an answer that comes before it has heard that its last bytes are out", async () => {
  const channel: SenderChannel = {
    counters: makeCounters(0),
    engineCounts: undefined,
    setUp: () => Promise.resolve(),
    start: () => ({ begun: Promise.resolve(), sent: Promise.resolve() }),
    destroy() {},
    close: () => Promise.resolve(),
  };
  const sendOver = async (main: Connection): Promise<string> => {
    const sender = new Sender({
      source: image,
      method: "none",
      engine: "none",
      channels: 1,
      sync: "round",
      pageSize: 4096,
      machine: "none",
      openMain: () => Promise.resolve(main),
      makeChannel: () => channel,
      transport: "runtime",
      timeout: 1000,
    });
    return (await sender.run()).status;
  };
  // it writes three times: how the stream begins, the blocks, and all that follows the pages
  await assertRejects(
    () => sendOver(new QuickDestination(1)),
    ProtocolError,
    "SHUT 0 before everything was sent",
  );
  assertEquals(await sendOver(new QuickDestination(2)), "completed");
});

test("send() cleans up the channels before the one whose set-up fails, and reports it", async () => {
  const none = methodByName("none")!;
  let setUp = 0;
  let cleanedUp = 0;
  registerMethod({
    ...none,
    name: "test-failing-setup",
    flag: 0x3e,
    sendSetup: () => {
      if (setUp === 2) throw new EngineUnavailableError("Engine test is not there");
      setUp++;
      return { prepare: () => 0, cleanup: () => void cleanedUp++ };
    },
  });
  let connections = 0;
  const error = await assertRejects(
    () => sendTo(() => void connections++, { method: "test-failing-setup", channels: 4 }),
    EngineUnavailableError,
    "Engine test is not there",
  );
  assertEquals([setUp, cleanedUp, error.facts.channel, connections], [2, 2, 2, 0]);
});

test("send() and receive() use a method that a program registers", async () => {
  const none = methodByName("none")!;
  let prepared = 0;
  registerMethod({
    ...none,
    name: "test-inverted",
    flag: 0x06,
    // promises, as an engine may answer
    sendSetup: () =>
      Promise.resolve({
        prepare(pages, out) {
          prepared++;
          pages.forEach((byte, i) => out[i] = ~byte);
          return Promise.resolve(pages.length);
        },
        cleanup() {},
      }),
    receiveSetup: () =>
      Promise.resolve({
        receive(payload, pages) {
          payload.forEach((byte, i) => pages[i] = ~byte);
          return Promise.resolve();
        },
        cleanup() {},
      }),
  });
  const receiver = await startReceiver();
  await send({ image, to: receiver.address, method: "test-inverted" });
  const { method } = await receiver.received;
  assertEquals(method, "test-inverted");
  assert(prepared > 0);
  assertEquals(receiver.image.memory.get("pc.ram"), image.memory.get("pc.ram"));
});

const BAD_OPTIONS: [Partial<SendOptions>, string][] = [
  [{ to: "nowhere" }, "HOST:PORT"],
  [{ to: "127.0.0.1:70000" }, "HOST:PORT"],
  [{ method: "lz4" }, "there are: none, zlib"],
  [{ method: "zstd", level: 21 }, "expected 0 to 20, received 21"],
  [{ method: "qpl", level: 1 }, "has no levels"],
  [{ channels: 0 }, "expected 1 to 255"],
  [{ channels: 256 }, "expected 1 to 255"],
  [{ pageSize: 1024 }, "4096, 8192"],
  [{ timeout: -1 }, "Timeout"],
  [{ image: new MemoryImage({ "pc.ram": new Uint8Array(5000) }) }, "not whole pages"],
  [{ image: new MemoryImage({}) }, "no blocks"],
  [{ image: new MemoryImage({ ["x".repeat(256)]: new Uint8Array(4096) }) }, "cannot be sent"],
];

for (const [options, message] of BAD_OPTIONS) {
  test(`send() refuses the options ${JSON.stringify(options).slice(0, 60)}: ${message}`, async () => {
    const to = "127.0.0.1:1";
    await assertRejects(() => send({ image, to, ...options }), OptionError, message);
  });
}

test("send() names the engines when it has not the one that was asked for", async () => {
  await assertRejects(
    () => send({ image, to: "127.0.0.1:1", method: "qpl", engine: "none-such" }),
    EngineUnavailableError,
    "there are: auto, iaa, qat, isal, libdeflate, zstd, qpl, builtin",
  );
});
