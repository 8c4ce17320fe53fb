/** A channel's thread that is killed in mid-migration ends it on both sides, and soon. */
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import {
  EngineError,
  MemoryImage,
  type MultifdError,
  PeerClosedError,
  PeerFailedError,
  send,
} from "../../mod.ts";
import { makeCounters } from "../../src/channels/counters.ts";
import type {
  ForChannel,
  IdleTask,
  ReceiveTask,
  SendTask,
} from "../../src/channels/worker_messages.ts";
import { count } from "../durability/_outcomes.ts";
import { within } from "../qemu/_wait.ts";
import { migrate, sharedPages, startReceiver, temporaryDirectory } from "./_migrate.ts";
import { type Holdings, settledHoldings } from "./_process.ts";

/** Far beyond what any case takes: who waits for this has not noticed. */
const TIMEOUT_MS = 60_000;
const CHANNELS = 2;

/** A worker, with its task. */
interface Caught {
  worker: Worker;
  task: ReceiveTask | SendTask | IdleTask;
}

let caught: Caught[] = [];
const post = Worker.prototype.postMessage;
Worker.prototype.postMessage = function (this: Worker, posted: Partial<ForChannel<unknown>>): void {
  const { message } = posted;
  // its settings are for no channel, and what comes later has no kind
  const isTask = typeof message === "object" && message !== null && "kind" in message;
  if (isTask) caught.push({ worker: this, task: message as Caught["task"] });
  post.call(this, posted);
};

async function errorOf(promise: Promise<unknown>): Promise<MultifdError> {
  try {
    await promise;
  } catch (error) {
    return error as MultifdError;
  }
  throw new Error("Migration went through");
}

/** The channel's worker, once it has moved so many bytes. */
async function whenMoved(kind: string, id: number, bytes: number): Promise<Worker> {
  const end = performance.now() + TIMEOUT_MS;
  while (performance.now() < end) {
    for (const { worker, task } of caught) {
      if (task.kind === "idle" || task.kind !== kind || task.id !== id) continue;
      if (makeCounters(id, task.counters).bytes >= bytes) return worker;
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  throw new Error(`Channel ${id} never moved ${bytes} bytes`);
}

/** What a killed thread may leave: of Deno's, two for one that waited; of ours, its block's file. */
function isExcused(descriptor: string, kind: string): boolean {
  if (descriptor.startsWith("anon_inode:")) return true;
  // closing it for a thread that may still write would let that write to another file
  return kind === "receive" && descriptor.endsWith("pc.ram (deleted)");
}

/** Each takes so long that no machine is through before the kill. */
const IMAGES = {
  // zero pages that are sent like others
  none: new MemoryImage({ "pc.ram": new SharedArrayBuffer(2 ** 30) }),
  zstd: new MemoryImage({ "pc.ram": sharedPages(8192, 4096, 1) }),
};

/** Each side: where it stands at a sync, floods the sockets, and trickles. */
const CASES = [
  { kind: "receive", id: 0, method: "none", after: 1 },
  ...(["send", "receive"] as const).flatMap((kind) =>
    [
      { kind, id: 0, method: "none", after: 1_000_000 },
      { kind, id: 1, method: "none", after: 8_000_000 },
      { kind, id: 1, method: "zstd", after: 100_000 },
    ] as const
  ),
] as const;

test("a migration opens what the runtime keeps open", async () => {
  await migrate(IMAGES.zstd, { transport: "native" }, { transport: "native" });
});

for (const { kind, id, method, after } of CASES) {
  test(`${kind}() fails everywhere when channel ${id}'s worker is killed after ${after} bytes of ${method}`, async () => {
    caught = [];
    const before = await settledHoldings();
    const directory = temporaryDirectory();
    const native = { timeout: TIMEOUT_MS, transport: "native" } as const;
    const into = path.join(directory, "vm");
    const receiver = await startReceiver({ ...native, into, engine: "auto", channels: CHANNELS });
    const options = {
      ...{ ...native, to: receiver.address, channels: CHANNELS, zeroPages: "none" as const },
      ...{ image: IMAGES[method], method, level: method === "zstd" ? 19 : undefined },
    };
    const killed = whenMoved(kind, id, after).then((worker) => worker.terminate());
    const [sent, received] = await within(
      "both sides to end",
      Promise.all([errorOf(send(options)), errorOf(receiver.received), killed]),
    );
    const [mine, peers] = kind === "send" ? [sent, received] : [received, sent];
    assert(mine instanceof EngineError, String(mine));
    assertEquals(mine.message, `Channel's worker ended without a word (channel ${id})`);
    assert(peers instanceof PeerClosedError || peers instanceof PeerFailedError, String(peers));
    assertEquals(fs.readdirSync(directory), []);
    fs.rmdirSync(directory);
    const counted = ({ descriptors }: Holdings): string[] =>
      descriptors.filter((descriptor) => !isExcused(descriptor, kind));
    const now = await settledHoldings((holdings) =>
      holdings.threads <= before.threads && counted(holdings).length <= counted(before).length
    );
    assert(now.threads <= before.threads, `threads: ${before.threads} ${now.threads}`);
    assertEquals(counted(now), counted(before));
    count("a channel's thread is killed", "both sides say so, nothing left");
  });
}
