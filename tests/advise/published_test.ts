/**
 * Whole QEMU migrations as they were published, in milliseconds: what the model makes of their
 * hosts must come in their order. Of each software method one figure is taken to tell its speed,
 * the others are the test.
 */
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { deviceCosts } from "../../src/advise/devices.ts";
import { predict } from "../../src/advise/model.ts";
import type { CodecCosts } from "../../src/advise/pass.ts";
import type { PipeCosts } from "../../src/advise/pipe.ts";
import { GIB } from "./_coefficients.ts";

/** 64 GiB of Silesia's files on a host with IAA. */
const IAA_GUEST = 64 * GIB;
const CHANNELS = [2, 4, 8];
const IAA_TABLES: Record<string, Record<string, number[]>> = {
  "100 Gbit/s": {
    none: [7493, 5901, 5789],
    iaa: [7330, 5219, 5250],
    "qpl software": [73535, 37299, 18964],
    zstd: [78291, 39544, 20180],
  },
  // a limit of bytes of payload, not of frames
  "1 GB/s": {
    none: [57758, 57758, 57758],
    iaa: [30129, 30129, 30129],
    zstd: [95750, 48907, 25568],
  },
};

/** All of the time of `none` with 2 channels is the pipe's, on either side. */
function pipeOf(bytes: number, threadSeconds: number): PipeCosts {
  const side = { fixed: 0, perPage: 0, perDataPage: 0, perWireByte: threadSeconds / bytes };
  return { origin: "measured", isThreaded: true, setup: 0, send: side, receive: side };
}

/** A software method, by what it took with 2 channels. */
function software(left: number, threadSeconds: number, pipe: PipeCosts): CodecCosts {
  const encode = threadSeconds / IAA_GUEST - left * pipe.send.perWireByte;
  const cost = { thread: encode, cpu: encode };
  return { left, encode: cost, decode: { thread: encode / 3, cpu: encode / 3 } };
}

/** Names from fastest to slowest; figures within 5 % of the one before count as the same. */
function order(times: Record<string, number>): string[] {
  return Object.keys(times).sort((a, b) => times[a]! - times[b]!);
}

test("predict() orders methods on IAA and 100 Gbit/s, and on 1 GB/s, as was published", () => {
  const pipe = pipeOf(IAA_GUEST, 2 * 7.493);
  const free = { thread: 0, cpu: 0 };
  const codecs: Record<string, CodecCosts> = {
    none: { left: 1, encode: free, decode: free },
    iaa: deviceCosts({ name: "iaa", count: 1 }, 0.5),
    "qpl software": software(0.5, 2 * 73.535, pipe),
    // 25.6 s for what 1 GB/s carries
    zstd: software(25.6e9 / IAA_GUEST, 2 * 78.291, pipe),
  };
  for (const [link, table] of Object.entries(IAA_TABLES)) {
    const speed = link === "1 GB/s"
      ? { bitsPerSecond: 8 * 1.19e9, framing: 1 }
      : { bitsPerSecond: 100e9 };
    for (const [column, channels] of CHANNELS.entries()) {
      const predicted: Record<string, number> = {};
      const published: Record<string, number> = {};
      for (const [name, times] of Object.entries(table)) {
        published[name] = times[column]!;
        predicted[name] = predict({
          guest: { bytes: IAA_GUEST, pageSize: 4096, zero: 0 },
          codec: codecs[name]!,
          pipe,
          hosts: { sourceCores: 32, destinationCores: 32 },
          link: speed,
          channels,
        }).totalTime!;
        const error = predicted[name]! / published[name]! - 1;
        assert(Math.abs(error) < 0.2, `${name} x${channels} over ${link}: ${predicted[name]} ms`);
      }
      assertEquals(order(predicted), order(published), `${channels} channels over ${link}`);
    }
  }
});

test("predict() orders methods on QAT and 50 Gbit/s as was published", () => {
  const bytes = 60 * GIB;
  const seconds = { none: 12.5, qatzip: 23.1, zstd: 54.5, zlib: 254 };
  const cpu = { none: 1.6, qatzip: 1.18, zstd: 4.15, zlib: 3.88 };
  const pipe = pipeOf(bytes, seconds.none * cpu.none);
  const software = (name: "zstd" | "zlib", left: number): CodecCosts => {
    const encode = seconds[name] * cpu[name] / bytes - left * pipe.send.perWireByte;
    return {
      left,
      encode: { thread: encode, cpu: encode },
      decode: { thread: encode / 3, cpu: encode / 3 },
    };
  };
  const free = { thread: 0, cpu: 0 };
  const codecs: Record<string, CodecCosts> = {
    none: { left: 1, encode: free, decode: free },
    qatzip: deviceCosts({ name: "qat", count: 1 }, 0.5),
    zstd: software("zstd", 0.4),
    zlib: software("zlib", 0.4),
  };
  const predicted: Record<string, number> = {};
  for (const [name, codec] of Object.entries(codecs)) {
    predicted[name] = predict({
      guest: { bytes, pageSize: 4096, zero: 0 },
      codec,
      pipe,
      hosts: { sourceCores: 32, destinationCores: 32 },
      link: { bitsPerSecond: 50e9 },
      channels: 4,
    }).totalTime!;
  }
  assertEquals(order(predicted), order(seconds));
});
