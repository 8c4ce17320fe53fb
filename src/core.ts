/**
 * The pure core: protocol and methods on typed arrays. No I/O, no runtime's
 * names; it runs in Deno, Bun, Node and browsers.
 *
 * @example Read a packet's header
 * ```ts
 * import { encodeRamPacket, parseRamPacket, ramPacketHeaderSize, syncPacket } from "@multifd/multifd/core";
 *
 * const header = new Uint8Array(ramPacketHeaderSize(4096));
 * encodeRamPacket(syncPacket(7), 4096, header);
 * console.log(parseRamPacket(header, 4096, new Map()).packetNum); // 7
 * ```
 *
 * @module
 */
export * from "./errors.ts";
export * from "./protocol/greeting.ts";
export * from "./protocol/ram_packet.ts";
export {
  encodeRamPacket,
  parsePacketStart,
  parseRamPacket,
  ramPacketHeaderSize,
} from "./protocol/ram_packet_header.ts";
export * from "./protocol/device_state_packet.ts";
export * from "./protocol/main_channel.ts";
export * from "./protocol/main_channel_event.ts";
export * from "./protocol/main_channel_reader.ts";
export * from "./protocol/main_channel_writer.ts";
export type { Configuration } from "./protocol/configuration.ts";
export type { MappedPages } from "./protocol/mapped_ram.ts";
export * from "./protocol/return_path.ts";
export * from "./protocol/vm_tail.ts";
export * from "./methods/method.ts";
export { methodByFlag, methodByName, methodNames, registerMethod } from "./methods/registry.ts";
export * from "./engines/engine.ts";
export type { MaybePromise } from "./maybe_promise.ts";
