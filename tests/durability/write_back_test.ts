/** What arrives goes to disk while more arrives, and an error of the disk counts when it comes. */
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { ImageError, MemoryImage } from "../../mod.ts";
import { MainChannelWriter } from "../../src/protocol/main_channel_writer.ts";
import { here, type Outcome, type Running, start } from "../cli/_command.ts";
import { startReceiver, temporaryDirectory, TRANSPORTS } from "../migration/_migrate.ts";
import { makeScript } from "../migration/_script.ts";
import { PausedSource, PONG, SHUT_0, SHUT_1 } from "./_paused_source.ts";
import { failing, skip } from "./_strace.ts";

/** The smallest block that is written back early. */
const BLOCK = { name: "pc.ram", usedLength: 16 * 1024 * 1024 };

/** Memory that notes that it is written back. */
class SlowDisk extends MemoryImage {
  readonly #error: Error | undefined;
  readonly #begun = Promise.withResolvers<void>();
  readonly begun = this.#begun.promise;

  constructor(error?: Error) {
    super();
    this.#error = error;
  }

  writeBack(): Promise<void> {
    this.#begun.resolve();
    return this.#error === undefined ? Promise.resolve() : Promise.reject(this.#error);
  }
}

for (const transport of TRANSPORTS) {
  test(`receive() on ${transport} sockets writes back before the source is through`, async () => {
    const into = new SlowDisk();
    const { port, received } = await startReceiver({ into, transport, channels: 2 });
    const source = await PausedSource.connect(port);
    await into.begun;
    source.goOn();
    assertEquals(await source.answer(), [...PONG, ...SHUT_0]);
    assertEquals((await received).ram.normal, 4);
  });

  test(`receive() on ${transport} sockets ends with the error of a write-back at once`, async () => {
    const into = new SlowDisk(new ImageError("Cannot sync pc.ram", { code: "EIO" }));
    const { port, received } = await startReceiver({ into, transport, channels: 2 });
    const ended = received.catch((error) => error);
    const source = await PausedSource.connect(port);
    assertEquals(await source.answer(), [...PONG, ...SHUT_1]);
    const error = await ended;
    assert(error instanceof ImageError, String(error));
    assertEquals(error.facts.code, "EIO");
  });

  /** Receives a large block, of which only some pages come, onto a disk that fails. */
  const receiveOnto = async (
    error: string,
    parent: string,
    whilePaused: (source: PausedSource, recv: Running) => void | Promise<void>,
  ): Promise<{ answer: number[]; outcome: Outcome }> => {
    const block = path.join(parent, "vm.partial-$$", BLOCK.name);
    const recv = start(
      here,
      ["recv", "--out", path.join(parent, "vm"), "--transport", transport, "--missing", "zero"],
      failing("fdatasync", error, block, path.join(parent, "trace")),
    );
    const address = await recv.line(/^listening on (.*)$/);
    const script = makeScript();
    script.main.start = new MainChannelWriter("round").ramStart([BLOCK]);
    const source = await PausedSource.connect(Number(address?.split(":").at(-1)), script);
    await whilePaused(source, recv);
    return { answer: await source.answer(), outcome: await recv.outcome };
  };

  test(
    `recv on ${transport} sockets ends when its disk fails while RAM comes`,
    { skip },
    async () => {
      const parent = temporaryDirectory();
      const { answer, outcome } = await receiveOnto("EIO", parent, () => {});
      assertEquals(answer, [...PONG, ...SHUT_1]);
      assertMatch(outcome.stderr, /Cannot sync pc\.ram.*EIO/);
      assertEquals(outcome.code, 1);
      assertEquals(fs.readdirSync(parent), ["trace"]);
      fs.rmSync(parent, { recursive: true });
    },
  );

  test(
    `recv on ${transport} sockets waits for a write-back under way, which may fail`,
    { skip },
    async () => {
      const parent = temporaryDirectory();
      const trace = path.join(parent, "trace");
      // far longer than all that is left to do
      const late = "EIO:delay_exit=2000000";
      const { answer, outcome } = await receiveOnto(late, parent, async (source) => {
        while (!fs.readFileSync(trace, "utf8").includes("fdatasync(")) {
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        source.goOn();
      });
      // a PONG a second says that it is not forgotten
      assertEquals(answer.slice(0, PONG.length), PONG);
      assertMatch(outcome.stderr, /Cannot sync pc\.ram.*EIO/);
      assertEquals(outcome.code, 1);
      assertEquals(fs.readdirSync(parent), ["trace"]);
      fs.rmSync(parent, { recursive: true });
    },
  );
}
