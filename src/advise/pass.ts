/** One pass over pages: what each part would need, and all of them together. */
import { pagesPerPacket } from "../protocol/ram_packet.ts";
import { ramPacketHeaderSize } from "../protocol/ram_packet_header.ts";
import type { PipeCosts, SideCosts } from "./pipe.ts";

/** What there is to move. */
export interface GuestPages {
  /** Bytes of guest RAM. */
  bytes: number;
  /** Page size in bytes. */
  pageSize: number;
  /** Share of the pages that are zero. */
  zero: number;
}

/** Seconds per byte of pages with data. */
export interface CodecCost {
  /** That a channel's thread is held up. */
  thread: number;
  /** Of a core: less, where a device computes. */
  cpu: number;
}

/** A method at a level on an engine, as far as the model asks. */
export interface CodecCosts {
  /** Bytes of payload by bytes of pages with data. */
  left: number;
  /** Compressing. */
  encode: CodecCost;
  /** Decompressing. */
  decode: CodecCost;
  /** Bytes of pages per second that all devices of a host can do; undefined without one. */
  deviceRate?: number | undefined;
}

/** The two hosts. */
export interface Hosts {
  /** Cores that a migration may use at the source. */
  sourceCores: number;
  /** Cores that it may use at the destination. */
  destinationCores: number;
  /** Whether both are one machine, whose `sourceCores` they share. */
  isOneHost?: boolean;
}

/** What is between them. */
export interface Link {
  /** Bits per second; Infinity for none that counts. */
  bitsPerSecond: number;
  /** Bytes on the link for each byte of TCP. Default {@linkcode ETHERNET_FRAMING}. */
  framing?: number;
}

/** What moves pages, and over what. */
export interface Way {
  /** The guest. */
  guest: GuestPages;
  /** The method, its level and engine. */
  codec: CodecCosts;
  /** Everything but the codec. */
  pipe: PipeCosts;
  /** Both ends. */
  hosts: Hosts;
  /** What is between them. */
  link: Link;
  /** Number of multifd channels. */
  channels: number;
}

/** What holds a migration up. */
export type Bottleneck =
  | "link"
  | "source CPU"
  | "destination CPU"
  | "one channel's thread at the source"
  | "one channel's thread at the destination"
  | "device";

/** All that can hold a migration up. */
export const BOTTLENECKS: readonly Bottleneck[] = [
  "link",
  "source CPU",
  "destination CPU",
  "one channel's thread at the source",
  "one channel's thread at the destination",
  "device",
];

/** One pass over some pages. */
export interface Pass {
  /** Seconds it takes. */
  seconds: number;
  /** Seconds that each would need by itself. */
  needs: Record<Bottleneck, number>;
  /** The one that needs the most. */
  bottleneck: Bottleneck;
  /** Bytes on the wire. */
  bytes: number;
  /** CPU seconds of the sender. */
  sendCpu: number;
  /** CPU seconds of the receiver. */
  receiveCpu: number;
}

/** Ethernet at an MTU of 1500: 1538 bytes of a frame, gap included, carry 1448 of TCP. */
export const ETHERNET_FRAMING = 1538 / 1448;

/** How sharply the slowest part decides; the others' needs are in its way a little. */
const SHARPNESS = 8;

/** One pass over pages, of which a share is zero. */
export function passOver(way: Way, pages: number, zero: number): Pass {
  const { codec, pipe, hosts, link, channels } = way;
  const { pageSize } = way.guest;
  const dataPages = pages * (1 - zero);
  const dataBytes = dataPages * pageSize;
  const headers = Math.ceil(pages / pagesPerPacket(pageSize)) * ramPacketHeaderSize(pageSize);
  const bytes = dataBytes * codec.left + headers;
  const ofPipe = (costs: SideCosts): number =>
    pages * costs.perPage + dataPages * costs.perDataPage + bytes * costs.perWireByte;
  const threads = pipe.isThreaded ? channels : 1;
  const [sendPipe, receivePipe] = [ofPipe(pipe.send), ofPipe(pipe.receive)];
  const sendCpu = sendPipe + dataBytes * codec.encode.cpu;
  const receiveCpu = receivePipe + dataBytes * codec.decode.cpu;
  const shared = hosts.isOneHost ? (sendCpu + receiveCpu) / hosts.sourceCores : 0;
  const needs: Record<Bottleneck, number> = {
    "link": bytes * (link.framing ?? ETHERNET_FRAMING) * 8 / link.bitsPerSecond,
    "source CPU": Math.max(shared, sendCpu / hosts.sourceCores),
    "destination CPU": hosts.isOneHost ? 0 : receiveCpu / hosts.destinationCores,
    "one channel's thread at the source": (sendPipe + dataBytes * codec.encode.thread) / threads,
    "one channel's thread at the destination": (receivePipe + dataBytes * codec.decode.thread) /
      threads,
    "device": codec.deviceRate === undefined ? 0 : dataBytes / codec.deviceRate,
  };
  const most = Math.max(...BOTTLENECKS.map((name) => needs[name]));
  return {
    seconds: together([
      needs.link,
      needs.device,
      Math.max(needs["source CPU"], needs["one channel's thread at the source"]),
      Math.max(needs["destination CPU"], needs["one channel's thread at the destination"]),
    ]),
    needs,
    bottleneck: BOTTLENECKS.find((name) => needs[name] === most)!,
    bytes,
    sendCpu,
    receiveCpu,
  };
}

/** Seconds of parts that work at the same time. */
function together(needs: readonly number[]): number {
  return needs.reduce((sum, need) => sum + need ** SHARPNESS, 0) ** (1 / SHARPNESS);
}
