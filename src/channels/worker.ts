/** A thread of one channel or several: blocking sockets, files and codecs, the same channel code. */
import { takeWorkerSettings, type WorkerSettings } from "../../ffi/find.ts";
import { nativeIo } from "../../ffi/io.ts";
import { packError } from "../errors.ts";
import { Line } from "./line.ts";
import { receiveInWorker } from "./receive_in_worker.ts";
import { sendInWorker } from "./send_in_worker.ts";
import { ThreadTurns } from "./thread_turns.ts";
import type {
  ArrivalMessage,
  ForChannel,
  IdleTask,
  ReceiveTask,
  RehearseMessage,
  SendTask,
  WatchMessage,
  WorkerStart,
} from "./worker_messages.ts";

/** This thread as a web worker, which starts in half of the time of one of node:worker_threads. */
const thread = globalThis as unknown as Pick<Worker, "onmessage" | "postMessage">;

/** Of the channels here. */
let turns: ThreadTurns | undefined;

async function serve(line: Line): Promise<void> {
  const task = await line.next<ReceiveTask | SendTask | IdleTask>();
  try {
    if (task.kind === "receive") {
      await receiveInWorker(line, turns ??= new ThreadTurns(false), task);
    } else if (task.kind === "send") {
      await sendInWorker(line, turns ??= new ThreadTurns(true), task);
    }
    line.tell({ type: "done" });
  } catch (error) {
    line.tell({ type: "error", error: packError(error) });
  }
  // here, too
  if (task.kind !== "idle") turns?.leave(task.id);
}

function watch(socket: number): void {
  nativeIo().net_poll(Int32Array.of(socket), 1, 0, 1, new Uint8Array(1));
  thread.postMessage({ type: "arrived" } satisfies ArrivalMessage);
}

let rehearsed: Promise<void> | undefined;

async function rehearse(): Promise<void> {
  try {
    const { rehearse } = await import("./receive_rehearsal.ts");
    await rehearse();
  } catch {
    // what is wrong here is told when a channel comes
  }
}

const lines = new Map<number, Line>();

function take({ channel, message }: ForChannel<unknown>): void {
  let line = lines.get(channel);
  if (line === undefined) {
    line = new Line((message) => thread.postMessage({ channel, message }));
    lines.set(channel, line);
    serve(line);
  }
  line.take(message);
}

thread.onmessage = ({ data: settings }: MessageEvent<WorkerSettings>) => {
  takeWorkerSettings(settings);
  thread.onmessage = async (
    { data }: MessageEvent<ForChannel<unknown> | RehearseMessage | WatchMessage>,
  ) => {
    if ("rehearse" in data) {
      rehearsed = rehearse();
      return;
    }
    // whoever waits here goes on in the order of coming
    await rehearsed;
    if ("watch" in data) watch(data.watch);
    else take(data);
  };
  // before there is anything to do: a spare worker has loaded everything when its channel comes
  thread.postMessage({ type: "started", thread: nativeIo().thread_begin() } satisfies WorkerStart);
};
