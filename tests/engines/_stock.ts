/** Streams of stock zlib and zstd, as QEMU drives them. */
import { Buffer } from "node:buffer";
import type zlib from "node:zlib";

/** What is used of a stock stream, in either direction. */
export interface Stock {
  on(event: "data", listener: (chunk: Uint8Array) => void): unknown;
  on(event: "error" | "end", listener: (error?: unknown) => void): unknown;
  write(bytes: Uint8Array, done: () => void): unknown;
  flush(kind: number, done: () => void): unknown;
  end(): unknown;
  destroy(): unknown;
}

/** Collects what a stock stream gives from one call to the next. */
export function tap(
  stream: Stock,
): { take(): Uint8Array; failed: Promise<never>; ended: Promise<void> } {
  const chunks: Uint8Array[] = [];
  stream.on("data", (chunk) => chunks.push(chunk));
  const failed = new Promise<never>((_, reject) => stream.on("error", reject));
  failed.catch(() => {});
  const ended = new Promise<void>((resolve) => stream.on("end", () => resolve()));
  return { take: () => new Uint8Array(Buffer.concat(chunks.splice(0))), failed, ended };
}

/** The payloads that a stock sender makes of packets: one stream, flushed after each packet. */
export async function stockPayloads(
  stream: zlib.Deflate | zlib.ZstdCompress,
  packets: readonly Uint8Array[],
  flush: number,
): Promise<Uint8Array[]> {
  const stock = stream as unknown as Stock;
  const { take, failed } = tap(stock);
  const payloads = [];
  for (const pages of packets) {
    stock.write(pages, () => {});
    await Promise.race([failed, new Promise<void>((done) => stock.flush(flush, done))]);
    payloads.push(take());
  }
  stock.destroy();
  return payloads;
}
