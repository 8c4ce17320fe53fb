import { test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { CancelledError, MemoryImage, OptionError, PeerClosedError, send } from "../../mod.ts";
import { Random } from "../_random.ts";
import { migrate, sharedPages, startReceiver, TRANSPORTS } from "./_migrate.ts";

const MIB = 2 ** 20;

function noise(bytes: number): Uint8Array {
  const memory = new Uint8Array(new SharedArrayBuffer(bytes));
  memory.set(new Random(1).bytes(bytes));
  return memory;
}

for (const transport of TRANSPORTS) {
  for (const method of ["none", "zstd"]) {
    test(`send() with maxBandwidth never averages more, ${method} on ${transport}`, async () => {
      const source = new MemoryImage({ "pc.ram": noise(2 * MIB) });
      const maxBandwidth = 8 * MIB;
      const both = { method, channels: 3, transport };
      const { sent, received, image } = await migrate(source, { ...both, maxBandwidth }, both);
      assertEquals(received.transport, transport);
      const { transferred } = sent.ram;
      assert(transferred > 2 * MIB, `${transferred} bytes were sent`);
      const rate = transferred * 1000 / sent.totalTime;
      assert(rate <= 1.02 * maxBandwidth, `${rate} bytes a second of ${maxBandwidth}`);
      assertEquals(image.memory.get("pc.ram"), new Uint8Array(source.memory.get("pc.ram")!));
    });
  }

  test(`send() that waits for its turn can be cancelled, on ${transport}`, async () => {
    const receiver = await startReceiver({ transport, channels: 2 });
    const controller = new AbortController();
    const sent = send({
      image: new MemoryImage({ "pc.ram": noise(4 * MIB) }),
      to: receiver.address,
      method: "none",
      transport,
      // half a minute for all of it
      maxBandwidth: MIB / 8,
      signal: controller.signal,
      onEvent: (event) => event.type === "progress" && controller.abort(),
    });
    await Promise.all([
      assertRejects(() => sent, CancelledError),
      assertRejects(() => receiver.received, PeerClosedError),
    ]);
  });
}

test("send() takes no maxBandwidth at which nothing would seem to move", async () => {
  const image = new MemoryImage({ "pc.ram": sharedPages(1, 4096, 1) });
  for (const maxBandwidth of [0, 1000, -1, NaN, Infinity]) {
    const options = { image, to: "127.0.0.1:1", maxBandwidth };
    await assertRejects(() => send(options), OptionError, "Most bandwidth is out of range");
  }
});
