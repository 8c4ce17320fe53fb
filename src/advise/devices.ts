/** Accelerators by the rates that others published, for hosts that are not here. */
import { OptionError } from "../errors.ts";
import type { CodecCosts } from "./pass.ts";

/** An accelerator's name. */
export type DeviceName = "iaa" | "qat";

/** What is published of a device. */
export interface PublishedDevice {
  /** The method it computes. */
  method: string;
  /** Bytes of pages per second of one device. */
  bytesPerSecond: number;
  /** Seconds of a channel's thread, on either side, per byte of pages. */
  secondsPerByte: number;
}

const GIB = 2 ** 30;
/** Silesia's bytes that deflate leaves on either device. */
const HALF = 0.5;

/**
 * Whole QEMU migrations, published with the patches that taught QEMU the methods; what `none`
 * takes for the bytes that are left is taken off, the rest is the device's.
 *
 * IAA: 64 GiB of Silesia over 100 Gbit/s in 7330 ms on 2 channels (none 7493) and in 5219 ms on
 * 4, which keep a device busy. QAT: 60 GiB over 50 Gbit/s in 23.1 s at 118 % of a core (none
 * 12.5 s at 160 %).
 */
export const PUBLISHED: Record<DeviceName, PublishedDevice> = {
  iaa: {
    method: "qpl",
    bytesPerSecond: 64 * GIB / 5.219,
    secondsPerByte: 2 * (7.33 - HALF * 7.493) / (64 * GIB),
  },
  qat: {
    method: "qatzip",
    bytesPerSecond: 60 * GIB / 23.1,
    secondsPerByte: (1.18 * 23.1 - HALF * 1.6 * 12.5) / (60 * GIB),
  },
};

/** Whether an engine is an accelerator. */
export function isDeviceName(engine: string): engine is DeviceName {
  return Object.hasOwn(PUBLISHED, engine);
}

/** Devices of each host. */
export interface DeviceOption {
  /** Which. */
  name: DeviceName;
  /** How many. */
  count: number;
  /** Bytes of pages per second of one; the published rate if undefined. */
  bytesPerSecond?: number | undefined;
}

/**
 * Reads `iaa=N` or `qat=N`, with `@RATE` in GB/s behind it for another rate than the published.
 *
 * @throws {OptionError} If it is neither.
 */
export function parseDevice(text: string): DeviceOption {
  const match = /^(iaa|qat)=(\d+)(?:@(\d+(?:\.\d+)?)G?)?$/.exec(text);
  const count = Number(match?.[2]);
  if (match === null || count === 0) {
    throw new OptionError(`--device ${text} is none: write iaa=1, qat=2 or iaa=1@8 (GB/s each)`);
  }
  const rate = match[3] === undefined ? undefined : Number(match[3]) * 1e9;
  return { name: match[1] as DeviceName, count, bytesPerSecond: rate };
}

/** Bytes of pages per second of all of a host's devices; of one, where nobody said how many. */
export function rateOf(name: DeviceName, devices: readonly DeviceOption[]): number {
  const found = devices.find((device) => device.name === name);
  return (found?.count ?? 1) * (found?.bytesPerSecond ?? PUBLISHED[name].bytesPerSecond);
}

/** A codec's costs on devices that are not here; `left` is what the method leaves in software. */
export function deviceCosts(device: DeviceOption, left: number): CodecCosts {
  const { secondsPerByte } = PUBLISHED[device.name];
  const cost = { thread: secondsPerByte, cpu: secondsPerByte };
  return { left, encode: cost, decode: cost, deviceRate: rateOf(device.name, [device]) };
}
