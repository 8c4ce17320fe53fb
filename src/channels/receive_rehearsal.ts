/**
 * A receiving channel's code, run in a spare worker while nobody waits for it: it takes several
 * times as long before the runtime has compiled it.
 */
import { errorName, nativeIo } from "../../ffi/io.ts";
import { EngineError } from "../errors.ts";
import { PACKET_SIZE, type RamPacket, syncPacket } from "../protocol/ram_packet.ts";
import { RamPacketHeader } from "../protocol/ram_packet_header.ts";
import { COUNTERS_SIZE, makeCounters } from "./counters.ts";
import { Line } from "./line.ts";
import { type ChannelTurns, receiveInWorker } from "./receive_in_worker.ts";
import { SharedState } from "./shared_state.ts";
import type { ReleaseMessage } from "./worker_messages.ts";

/**
 * Packets of a rehearsal, which takes 15 ms; 50 were not enough for the first of a runtime's
 * compilers, 1500 no better.
 */
const PACKETS = 300;
const PAGE_SIZE = 4096;
const BLOCK = { name: "rehearsal", usedLength: PACKET_SIZE };
/** Takes pages at any offset and keeps none. */
const NOWHERE = "/dev/null";
const SHUTDOWN_SENDING = 1;

/** A stream that is sent packet by packet, each when the channel is about to read it. */
class RehearsedStream implements ChannelTurns {
  readonly #io = nativeIo();
  readonly #fd: number;
  readonly #header = new RamPacketHeader(PAGE_SIZE);
  readonly #page = new Uint8Array(PAGE_SIZE);
  #sent = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  join(): void {}

  begin(): void {}

  rest(): void {}

  wait(): void {
    const packetNum = this.#sent++;
    if (packetNum > PACKETS + 1) {
      this.#io.net_shutdown(this.#fd, SHUTDOWN_SENDING);
    } else if (packetNum === 0 || packetNum > PACKETS) {
      this.#send(syncPacket(packetNum), new Uint8Array(0));
    } else {
      const offsets = Float64Array.of(PAGE_SIZE * (packetNum % (PACKET_SIZE / PAGE_SIZE)));
      this.#send({
        ...syncPacket(packetNum),
        flags: 0,
        pagesAlloc: 1,
        nextPacketSize: PAGE_SIZE,
        normalPages: 1,
        block: BLOCK.name,
        offsets,
      }, this.#page);
    }
  }

  #send(packet: RamPacket, pages: Uint8Array): void {
    this.#header.encode(packet);
    const { bytes } = this.#header;
    const result = this.#io.net_send(this.#fd, bytes, bytes.length, pages, pages.length);
    if (result < 0) throw new EngineError(`Cannot rehearse: ${errorName(result)}`);
  }
}

/**
 * Receives pages that were made up, from a socket of its own, to nowhere.
 *
 * @returns How many packets it received, SYNC packets included.
 * @throws {EngineError} If there are no sockets.
 */
export async function rehearse(): Promise<number> {
  const io = nativeIo();
  const pair = new Int32Array(2);
  const result = io.net_pair(pair);
  if (result < 0) throw new EngineError(`Cannot rehearse: ${errorName(result)}`);
  const [fd, other] = pair as unknown as [number, number];
  const counters = new SharedArrayBuffer(COUNTERS_SIZE);
  const line = new Line(() => {});
  const ram = {
    blocks: [BLOCK],
    pageSize: PAGE_SIZE,
    received: [],
    target: { type: "files" as const, files: [{ path: NOWHERE, byteOffset: 0 }] },
    turn: new SharedArrayBuffer(4),
  };
  line.take({ isEnding: false, ram } satisfies ReleaseMessage);
  line.take({ isEnding: true, ram: undefined } satisfies ReleaseMessage);
  try {
    await receiveInWorker(line, new RehearsedStream(other), {
      kind: "receive",
      id: 0,
      fd,
      pageSize: PAGE_SIZE,
      method: "none",
      engine: undefined,
      fallback: false,
      verify: false,
      counters,
      state: new SharedState().shared,
    });
    return makeCounters(0, counters).packets;
  } finally {
    io.io_close(fd);
    io.io_close(other);
  }
}
