import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { predict, type Scenario } from "../../src/advise/model.ts";
import { type CodecCosts, ETHERNET_FRAMING } from "../../src/advise/pass.ts";
import { assertNear, GIB, PIPE } from "./_coefficients.ts";

const FREE = { thread: 0, cpu: 0 };
const NONE: CodecCosts = { left: 1, encode: FREE, decode: FREE };

function cost(megabytes: number): { thread: number; cpu: number } {
  const seconds = 1 / (megabytes * 1e6);
  return { thread: seconds, cpu: seconds };
}

const ZSTD: CodecCosts = { left: 0.5, encode: cost(500), decode: cost(2000) };

function scenario(changes: Partial<Scenario> = {}): Scenario {
  return {
    guest: { bytes: GIB, pageSize: 4096, zero: 0.25 },
    codec: NONE,
    pipe: PIPE,
    hosts: { sourceCores: 8, destinationCores: 8 },
    link: { bitsPerSecond: 1e9 },
    channels: 4,
    ...changes,
  };
}

test("predict() on a slow link takes what the bytes with headers and frames take", () => {
  const { totalTime, bytes, bottleneck, mbps } = predict(scenario());
  const pages = GIB / 4096;
  assertEquals(bytes, 0.75 * GIB + pages / 128 * 1344);
  assertEquals(bottleneck, "link");
  const link = bytes * 8 * ETHERNET_FRAMING / 1e9;
  assertNear(totalTime!, 1000 * (PIPE.setup + link), 10);
  assertNear(mbps, bytes * 8 / 1e3 / totalTime!, 1e-6);
});

test("predict() halves the time on a slow link with half the bytes", () => {
  const plain = predict(scenario()).totalTime!;
  const packed = predict(scenario({ codec: ZSTD })).totalTime!;
  assertNear(packed / plain, 0.5, 0.02);
});

test("predict() is held up by one channel's thread where cores are idle", () => {
  const link = { bitsPerSecond: 100e9 };
  const one = predict(scenario({ codec: ZSTD, link, channels: 1 }));
  assertEquals(one.bottleneck, "one channel's thread at the source");
  const two = predict(scenario({ codec: ZSTD, link, channels: 2 }));
  assertNear(two.totalTime! / one.totalTime!, 0.5, 0.05);
});

test("predict() is held up by the source's CPU where channels outnumber its cores", () => {
  const link = { bitsPerSecond: 100e9 };
  const hosts = { sourceCores: 2, destinationCores: 8 };
  const four = predict(scenario({ codec: ZSTD, link, hosts, channels: 4 }));
  assertEquals(four.bottleneck, "source CPU");
  const eight = predict(scenario({ codec: ZSTD, link, hosts, channels: 8 }));
  assertNear(eight.totalTime!, four.totalTime!, 0.02 * four.totalTime!);
});

test("predict() is held up by a destination that decompresses more slowly", () => {
  const codec = { left: 0.5, encode: cost(2000), decode: cost(200) };
  const link = { bitsPerSecond: 100e9 };
  const hosts = { sourceCores: 8, destinationCores: 2 };
  assertEquals(predict(scenario({ codec, link, hosts })).bottleneck, "destination CPU");
  const threads = predict(scenario({ codec, link, channels: 1 }));
  assertEquals(threads.bottleneck, "one channel's thread at the destination");
});

test("predict() adds both hosts' CPU where they are one machine", () => {
  const link = { bitsPerSecond: Infinity };
  const one = { sourceCores: 2, destinationCores: 2, isOneHost: true };
  const both = predict(scenario({ codec: ZSTD, link, hosts: one, channels: 8 }));
  const seconds = both.totalTime! / 1000 - PIPE.setup;
  const fixed = PIPE.send.fixed + PIPE.receive.fixed;
  assertNear(seconds, (both.cpuSeconds - fixed) / 2, 0.05 * seconds);
});

test("predict() is held up by a device that computes less than the cores could feed it", () => {
  const codec = { ...ZSTD, encode: FREE, decode: FREE, deviceRate: 1e9 };
  const { bottleneck, totalTime } = predict(
    scenario({ codec, link: { bitsPerSecond: 100e9 } }),
  );
  assertEquals(bottleneck, "device");
  assert(totalTime! >= 1000 * 0.75 * GIB / 1e9);
});

test("predict() has one thread for all channels without the shim", () => {
  const pipe = { ...PIPE, isThreaded: false };
  const link = { bitsPerSecond: 100e9 };
  const times = [1, 8].map((channels) =>
    predict(scenario({ codec: ZSTD, pipe, link, channels })).totalTime
  );
  assertEquals(times[0], times[1]);
});

test("predict() tells CPU in percent of a core, as the seconds add up", () => {
  const { sendCpu, receiveCpu, cpuSeconds, totalTime } = predict(scenario({ codec: ZSTD }));
  assertNear((sendCpu + receiveCpu) / 100 * totalTime! / 1000, cpuSeconds, 1e-9);
  assert(sendCpu > receiveCpu, "compressing costs more");
});

test("predict() takes a guest without a page of data", () => {
  const { totalTime, bytes } = predict(
    scenario({ guest: { bytes: GIB, pageSize: 4096, zero: 1 } }),
  );
  assertEquals(bytes, GIB / 4096 / 128 * 1344);
  assert(totalTime! > 1000 * PIPE.setup && totalTime! < 1000);
});
