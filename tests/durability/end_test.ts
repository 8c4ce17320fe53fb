/** What may go wrong when all is received: the source hears it once, and keeps its guest. */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { CancelledError, ImageError, MemoryImage, ProtocolError } from "../../mod.ts";
import type { FinishedBlock, ReceivedVm } from "../../mod.ts";
import { startReceiver, temporaryDirectory, TRANSPORTS } from "../migration/_migrate.ts";
import { makeScript, pagesPacket } from "../migration/_script.ts";
import { count } from "./_outcomes.ts";
import { PausedSource, PONG, SHUT_1 } from "./_paused_source.ts";

/** Memory that is finished when it is told, and at once then. */
class SlowImage extends MemoryImage {
  readonly begun = Promise.withResolvers<void>();
  readonly mayEnd = Promise.withResolvers<void>();

  override async finish(_vm: ReceivedVm, blocks: FinishedBlock[]): Promise<FinishedBlock[]> {
    this.begun.resolve();
    await this.mayEnd.promise;
    return blocks;
  }
}

/** Memory that cannot be cleared away. */
class StickyImage extends MemoryImage {
  override discard(): void {
    throw new ImageError("Cannot remove vm.partial-1", { code: "EROFS" });
  }
}

for (const transport of TRANSPORTS) {
  const options = { transport, channels: 2 };

  /** Receives into a directory to which something happens before the end. */
  const receiveInto = async (spoil: (out: string) => void): Promise<[string[], ImageError]> => {
    const parent = temporaryDirectory();
    const out = path.join(parent, "vm");
    const setUp = Promise.withResolvers<void>();
    const { port, received } = await startReceiver({
      ...options,
      into: out,
      onEvent: ({ type }) => void (type === "setup" && setUp.resolve()),
    });
    const ended = received.catch((error) => error);
    const source = await PausedSource.connect(port);
    await Promise.race([setUp.promise, ended]);
    spoil(out);
    source.goOn();
    assertEquals(await source.answer(), [...PONG, ...SHUT_1]);
    const error = await ended;
    assert(error instanceof ImageError, String(error));
    const left = fs.existsSync(parent)
      ? fs.readdirSync(parent, { recursive: true }).map(String).sort()
      : [];
    fs.rmSync(parent, { recursive: true, force: true });
    count("a vanished or taken directory", "SHUT 1, nothing left");
    return [left, error];
  };

  test(`receive() on ${transport} sockets says SHUT 1 when its directory is removed`, async () => {
    const [left, error] = await receiveInto((out) =>
      fs.rmSync(`${out}.partial-${process.pid}`, { recursive: true, force: true })
    );
    assertEquals(left, []);
    assertEquals(error.facts.code, "ENOENT");
  });

  test(`receive() on ${transport} sockets says SHUT 1 when the folder it is in is removed`, async () => {
    const [left, error] = await receiveInto((out) =>
      fs.rmSync(path.dirname(out), { recursive: true })
    );
    assertEquals(left, []);
    assertEquals(error.facts.code, "ENOENT");
  });

  test(`receive() on ${transport} sockets says SHUT 1 when its name is taken meanwhile`, async () => {
    const [left, error] = await receiveInto((out) => {
      fs.mkdirSync(out);
      fs.writeFileSync(path.join(out, "precious"), "1");
    });
    assertEquals(left, ["vm", "vm/precious"]);
    assertMatch(String(error.facts.code), /ENOTEMPTY|EEXIST/);
  });

  test(`receive() on ${transport} sockets says SHUT 1, and SHUT 0 never, when it is cancelled at its end`, async () => {
    const into = new SlowImage();
    const controller = new AbortController();
    const { signal } = controller;
    const { port, received } = await startReceiver({ ...options, into, signal });
    const ended = received.catch((error) => error);
    const source = await PausedSource.connect(port);
    source.goOn();
    await into.begun.promise;
    controller.abort();
    into.mayEnd.resolve();
    assertEquals(await source.answer(), [...PONG, ...SHUT_1]);
    assertEquals(await source.afterwards(), []);
    assert(await ended instanceof CancelledError);
  });

  test(`receive() on ${transport} sockets throws the first error, also when it cannot clear away`, async () => {
    const warnings: string[] = [];
    const { port, received } = await startReceiver({
      ...options,
      into: new StickyImage(),
      onEvent: (event) => void (event.type === "warning" && warnings.push(event.message)),
    });
    const ended = received.catch((error) => error);
    const script = makeScript();
    script.channels[0]!.data = pagesPacket(2, [1]);
    const source = await PausedSource.connect(port, script);
    assertEquals(await source.answer(), [...PONG, ...SHUT_1]);
    assert(await ended instanceof ProtocolError);
    assertEquals(warnings, ["Cannot remove vm.partial-1 (EROFS)"]);
  });
}
