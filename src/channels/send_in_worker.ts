/** A sending channel in its worker. */
import { nativeIo, openCalls } from "../../ffi/io.ts";
import { selectEngine } from "../engines/select.ts";
import type { MethodSender } from "../methods/method.ts";
import { methodByName } from "../methods/registry.ts";
import { SharedRamAccess } from "../ram/shared_ram.ts";
import { BlockingConnection, connectNatively } from "../transport/native.ts";
import { Backlog } from "./backlog.ts";
import { makeCounters } from "./counters.ts";
import { type Line, tellNowAndThen } from "./line.ts";
import { nativePageLoops } from "./native_page_loops.ts";
import { PageWork } from "./page_work.ts";
import { RateLimit } from "./rate_limit.ts";
import { SendingChannel } from "./sending_channel.ts";
import type { ThreadTurns } from "./thread_turns.ts";
import { setUpSender } from "./verify.ts";
import type { SendCommand, SendTask } from "./worker_messages.ts";

/** What the first packet would wait for. */
const CALLS = [
  "bytes_to_aligned",
  "file_open",
  "net_connect",
  "net_send",
  "net_send_pages",
  "file_next_data",
  "file_read",
  "pages_sort",
  "offsets_write",
] as const;

/** A device's side of a channel that tells of itself while it works. */
function telling(line: Line, sender: MethodSender): MethodSender {
  const tellCounts = tellNowAndThen(line, () => sender.counts?.());
  return {
    prepare(pages, out) {
      tellCounts();
      return sender.prepare(pages, out);
    },
    cleanup: () => sender.cleanup(),
  };
}

/**
 * Sends a channel.
 *
 * @param line To the main thread, which says when.
 * @param turns Those of the thread's channels.
 * @param task What to send.
 */
export async function sendInWorker(
  line: Line,
  turns: ThreadTurns,
  task: SendTask,
): Promise<void> {
  const name = `channel ${task.id}`;
  // before any of the thread's channels is connected: until all are, none may block the others
  turns.join(task.id);
  openCalls(CALLS);
  const method = methodByName(task.method)!;
  const engine = selectEngine(method, "encodes", task.engine);
  const counters = makeCounters(task.id, task.counters);
  const sender = await setUpSender(method, { ...task, engine }, () => counters.verifyCaught++);
  const source = new SharedRamAccess(task.source, task.blocks);
  const zeros = new Backlog(task.zeros);
  // the main thread's, once it has heard of it
  let socket: number | undefined;
  try {
    line.tell({ type: "ready" });
    if (await line.next<SendCommand>() === "end") return;
    const fd = socket = connectNatively(task.to, name, task.timeout);
    const wait = (connection: BlockingConnection) => turns.wait(task.id, connection);
    const channel = new SendingChannel({
      ...task,
      connection: new BlockingConnection(fd, name, wait),
      method,
      sender: engine?.isDevice === true ? telling(line, sender) : sender,
      source,
      work: new PageWork(task.blocks, task.work),
      limit: task.limit && new RateLimit(task.limit, true),
      loops: nativePageLoops(),
      sendZeroPages(block, offsets) {
        line.tell({ type: "zeros", block, offsets });
        zeros.add();
      },
      counters,
    });
    await channel.begin(task.uuid);
    line.tell({ type: "begun", fd });
    socket = undefined;
    await channel.sendAll();
    line.tell({ type: "sent", engineCounts: sender.counts?.() });
    // only now: the thread may block in another channel from here on
    turns.rest(task.id);
    await line.next<SendCommand>();
  } finally {
    if (socket !== undefined) nativeIo().io_close(socket);
    sender.cleanup();
    source.close();
  }
}
