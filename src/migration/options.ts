/** Checks on options that send and receive share. */
import { OptionError } from "../errors.ts";
import type { Method } from "../methods/method.ts";
import { methodByName, methodNames } from "../methods/registry.ts";
import { PAGE_SIZES } from "../protocol/ram_packet.ts";

/** Default of `timeout`: a minute, in milliseconds. */
export const DEFAULT_TIMEOUT = 60_000;
/** Most channels: QEMU's bound, an id is one byte. */
export const MAX_CHANNELS = 255;
/**
 * Most channels that a receiver takes which was not told how many will come: each takes memory,
 * and whoever reaches the port can open one.
 */
export const DEFAULT_MAX_CHANNELS = 64;

/** Least bytes per second: at less, a packet takes so long that nothing seems to move. */
const MIN_BANDWIDTH = 128 * 1024;

/** The method of a name. */
export function checkMethod(name: string): Method {
  const method = methodByName(name);
  if (method !== undefined) return method;
  throw new OptionError(`Method "${name}" is unknown; there are: ${methodNames().join(", ")}`);
}

/** A level within the method's range; its default if undefined. */
export function checkLevel(method: Method, level: number | undefined): number {
  const { levels } = method;
  if (level === undefined) return levels?.default ?? 0;
  if (levels === undefined) throw new OptionError(`Method ${method.name} has no levels`);
  if (Number.isInteger(level) && level >= levels.min && level <= levels.max) return level;
  throw new OptionError(`Level is out of range for ${method.name}`, {
    expected: `${levels.min} to ${levels.max}`,
    received: level,
  });
}

/** A number of channels. */
export function checkChannels(channels: number): number {
  if (Number.isInteger(channels) && channels >= 1 && channels <= MAX_CHANNELS) return channels;
  throw new OptionError("Number of channels is out of range", {
    expected: `1 to ${MAX_CHANNELS}`,
    received: channels,
  });
}

/** A page size in bytes. */
export function checkPageSize(pageSize: number): number {
  if (PAGE_SIZES.includes(pageSize)) return pageSize;
  throw new OptionError("Page size is not one that is taken", {
    expected: PAGE_SIZES.join(", "),
    received: pageSize,
  });
}

/** A guest's uuid. */
export function checkUuid(uuid: Uint8Array): Uint8Array {
  if (uuid.length === 16) return uuid;
  throw new OptionError("Length of the uuid is wrong", { expected: 16, received: uuid.length });
}

/** A rate in bytes per second. */
export function checkBandwidth(bandwidth: number): number {
  if (bandwidth >= MIN_BANDWIDTH && bandwidth < Infinity) return bandwidth;
  throw new OptionError("Most bandwidth is out of range", {
    expected: `at least ${MIN_BANDWIDTH} bytes per second`,
    received: bandwidth,
  });
}

/** A time in milliseconds, 0 for none. */
export function checkTimeout(timeout: number): number {
  if (timeout >= 0 && timeout < Infinity) return timeout;
  throw new OptionError("Timeout is out of range", {
    expected: "milliseconds, or 0 for none",
    received: timeout,
  });
}
