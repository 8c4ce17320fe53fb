/** Migrations written by hand: what a source would send, part by part, to break one part of. */
import { encodeGreeting } from "../../src/protocol/greeting.ts";
import type { SyncMode } from "../../src/protocol/main_channel.ts";
import { emptyVmTail, MainChannelWriter } from "../../src/protocol/main_channel_writer.ts";
import { type RamPacket, syncPacket } from "../../src/protocol/ram_packet.ts";
import { encodeRamPacket, ramPacketHeaderSize } from "../../src/protocol/ram_packet_header.ts";
import { RawPeer, startReceiver } from "./_migrate.ts";

const PAGE = 4096;

/** Everything a source sends, in the order it sends it on each connection. */
export interface Script {
  main: {
    head: Uint8Array;
    returnPath: Uint8Array;
    ping: Uint8Array;
    start: Uint8Array;
    part: Uint8Array;
    end: Uint8Array;
    tail: Uint8Array;
  };
  channels: {
    greeting: Uint8Array;
    setup: Uint8Array;
    data: Uint8Array;
    partSync: Uint8Array;
    endSync: Uint8Array;
    after: Uint8Array;
  }[];
}

/** Joins byte arrays. */
export function join(...parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** A packet with its payload. */
export function packet(fields: Partial<RamPacket>, payload = new Uint8Array(0)): Uint8Array {
  const offsets = fields.offsets ?? new Float64Array(0);
  const header = new Uint8Array(ramPacketHeaderSize(PAGE));
  const whole: RamPacket = {
    flags: 0,
    packetNum: 0,
    pagesAlloc: 128,
    nextPacketSize: payload.length,
    normalPages: offsets.length - (fields.zeroPages ?? 0),
    zeroPages: 0,
    block: "pc.ram",
    offsets,
    ...fields,
  };
  encodeRamPacket(whole, PAGE, header);
  return join(header, payload);
}

/** A packet of uncompressed pages, each filled with a byte. */
export function pagesPacket(packetNum: number, offsets: number[], fill = 0x55): Uint8Array {
  return packet(
    { packetNum, offsets: Float64Array.from(offsets) },
    new Uint8Array(offsets.length * PAGE).fill(fill),
  );
}

/** A SYNC packet. */
export function sync(packetNum: number): Uint8Array {
  return packet({ ...syncPacket(packetNum) });
}

/** A guest of pc.ram alone, two pages on each channel. */
export function makeScript(mode: SyncMode = "round", channels = 2): Script {
  const writer = new MainChannelWriter(mode);
  const greeting = (id: number): Uint8Array => encodeGreeting({ id, uuid: new Uint8Array(16) });
  return {
    main: {
      head: writer.head("pc-q35-10.0", PAGE),
      returnPath: writer.openReturnPath(),
      ping: writer.ping(9),
      start: writer.ramStart([{ name: "pc.ram", usedLength: channels * 2 * PAGE }]),
      part: join(writer.ramPart(), writer.ramPartEnd()),
      end: writer.ramEnd(),
      tail: emptyVmTail(),
    },
    channels: Array.from({ length: channels }, (_, id) => ({
      greeting: greeting(id),
      setup: sync(id),
      data: pagesPacket(channels + id, [id * 2 * PAGE, (id * 2 + 1) * PAGE]),
      partSync: sync(2 * channels + id),
      endSync: sync(3 * channels + id),
      after: new Uint8Array(0),
    })),
  };
}

/** Plays a script to a receiver: all at once, as a source may, and also to one that gives up early. */
export async function play(script: Script, port: number): Promise<RawPeer[]> {
  const streams = [script.main, ...script.channels].map((parts) => Object.values(parts));
  const peers: (RawPeer | undefined)[] = [];
  for (const _ of streams) peers.push(await RawPeer.connect(port).catch(() => undefined));
  // as a source: at its first marker every channel has been opened
  for (const [i, peer] of peers.entries()) peer?.write(...streams[i]!);
  return peers.filter((peer) => peer !== undefined);
}

/** PONG and SHUT 0: what a receiver answers to a script when all is well. */
export const ANSWER_SIZE = 16;

/** Plays a script to a new receiver, and closes the connections as a source does. */
export async function receiveScript(
  script: Script,
  options: Parameters<typeof startReceiver>[0] = {},
): Promise<Awaited<ReturnType<typeof startReceiver>> & { answer: Promise<Uint8Array> }> {
  const receiver = await startReceiver({ channels: script.channels.length, ...options });
  receiver.received.catch(() => {});
  const [main, ...channels] = await play(script, receiver.port);
  for (const peer of channels) peer.socket.end();
  const hasReturnPath = script.main.returnPath.length > 0 && script.main.tail.length > 0;
  const answer = main!.read(hasReturnPath ? ANSWER_SIZE : 0);
  answer.then(() => main!.socket.end());
  return { ...receiver, answer };
}
