/**
 * A receiver's code, run once while nobody waits for it: code takes many times as long when it runs
 * for the first time, and at a migration's end a guest stands still for it.
 */
import { ByteWriter } from "../protocol/byte_writer.ts";
import { encodeName } from "../protocol/bytes.ts";
import { encodeGreeting } from "../protocol/greeting.ts";
import { SECTION } from "../protocol/main_channel.ts";
import { MainChannelWriter } from "../protocol/main_channel_writer.ts";
import { syncPacket } from "../protocol/ram_packet.ts";
import { RamPacketHeader } from "../protocol/ram_packet_header.ts";
import { MemoryImage } from "../ram/memory_image.ts";
import type { Connection } from "../transport/connection.ts";
import { Receiver } from "./receiver.ts";

const PAGE_SIZE = 4096;
/** A page with data and a zero page. */
const BLOCK = { name: "rehearsal", usedLength: 2 * PAGE_SIZE };
const DEVICE_ID = 3;

/** A connection that plays bytes; what is written to it goes nowhere. */
class PlayedBytes implements Connection {
  name = "rehearsal";
  bytesRead = 0;
  bytesWritten = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  read(into: Uint8Array): number {
    const part = this.#bytes.subarray(this.bytesRead, this.bytesRead + into.length);
    into.set(part);
    this.bytesRead += part.length;
    return part.length;
  }

  readSome(): Uint8Array | undefined {
    const rest = this.#bytes.subarray(this.bytesRead);
    this.bytesRead += rest.length;
    return rest.length > 0 ? rest : undefined;
  }

  write(): void {}

  end(): void {}

  destroy(): void {}
}

function mainStream(): Uint8Array {
  const writer = new MainChannelWriter("round");
  const description = encodeName(JSON.stringify({
    devices: [{ name: BLOCK.name, instance_id: 0, fields: [{ size: 1 }] }],
  }));
  return new ByteWriter()
    .raw(writer.head(BLOCK.name, PAGE_SIZE))
    .raw(writer.openReturnPath())
    .raw(writer.ping(1))
    .raw(writer.ramStart([BLOCK]))
    .raw(writer.ramPart())
    .raw(writer.ramPartEnd())
    .raw(writer.ramEnd())
    .u8(SECTION.FULL).u32(DEVICE_ID).name(BLOCK.name).u32(0).u32(1).u8(0)
    .u8(SECTION.FOOTER).u32(DEVICE_ID)
    .u8(SECTION.EOF).u8(SECTION.VMDESCRIPTION).u32(description.length).raw(description)
    .done();
}

function channelStream(): Uint8Array {
  const header = new RamPacketHeader(PAGE_SIZE);
  const bytes = new ByteWriter().raw(encodeGreeting({ id: 0, uuid: new Uint8Array(16) }));
  let packetNum = 0;
  const sync = (): void => {
    header.encode(syncPacket(packetNum++));
    bytes.raw(header.bytes);
  };
  sync();
  header.encode({
    ...syncPacket(packetNum++),
    flags: 0,
    pagesAlloc: 2,
    nextPacketSize: PAGE_SIZE,
    normalPages: 1,
    zeroPages: 1,
    block: BLOCK.name,
    offsets: Float64Array.of(0, PAGE_SIZE),
  });
  bytes.raw(header.bytes).raw(new Uint8Array(PAGE_SIZE).fill(1));
  sync();
  sync();
  return bytes.done();
}

let rehearsal: Promise<void> | undefined;

/** Receives two pages from memory into memory, once in a process. */
export function rehearse(): Promise<void> {
  rehearsal ??= receiveFrom(mainStream(), channelStream());
  return rehearsal;
}

async function receiveFrom(main: Uint8Array, channel: Uint8Array): Promise<void> {
  const receiver = new Receiver({
    target: new MemoryImage(),
    transport: "runtime",
    timeout: 0,
    isPlayback: true,
    drain: () => Promise.resolve(),
  });
  const done = receiver.run();
  receiver.add(new PlayedBytes(main));
  receiver.add(new PlayedBytes(channel));
  await done;
}
