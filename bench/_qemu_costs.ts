/** What QEMU's own migrations cost: the pipe and its codecs, from QEMUs over loopback. */
import fs from "node:fs";
import { type CalibrationRun, fitPipe, type PipeCosts } from "../src/advise/pipe.ts";
import { isZeroPage } from "../src/ram/zero_page.ts";
import { QemuDestination, QemuSource } from "./_ends.ts";
import type { Place } from "./_place.ts";
import type { QemuProgram } from "./_qemu.ts";
import { median } from "./_statistics.ts";

const PAGE = 4096;
const ROUNDS = 3;
/** A guest that is mostly what every migration costs. */
const SMALLEST = 16 << 20;
/** As ours are measured: channels get into each other's way a little. */
const CHANNELS = 2;

/** QEMU's costs. */
export interface QemuCosts {
  pipe: PipeCosts;
  /** Seconds per byte of pages with data, and what is left of one, by method. */
  codecs: Record<string, { encode: number; decode: number; left: number }>;
}

/** Measures them: the pipe on images of one kind of page, the codecs on a guest's. */
export async function measureQemu(
  program: QemuProgram,
  place: Place,
  image: string,
  size: number,
  methods: readonly string[],
): Promise<QemuCosts> {
  const move = async (file: string, method: string): Promise<CalibrationRun[]> => {
    const found: CalibrationRun[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      found.push(await moveOnce(program, place, file, method));
    }
    return found;
  };
  const [small, zero, data] = [["small", SMALLEST, 1], ["zero", size, 0], ["data", size, 1]]
    .map(([name, size, byte]) => writeImage(place.file(String(name)), Number(size), Number(byte)));
  const runs = {
    small: await move(small!, "none"),
    zero: await move(zero!, "none"),
    packed: await move(data!, "zstd"),
    plain: await move(data!, "none"),
  };
  // of pages of one byte zstd takes next to nothing
  const pipe = fitPipe(runs, { encode: 0, decode: 0 }, true);
  const dataBytes = dataPagesOf(image) * PAGE;
  const codecs: QemuCosts["codecs"] = {};
  for (const method of methods.filter((method) => method !== "none")) {
    const found = await move(image, method);
    const beyond = (side: "send" | "receive", cpu: "sendCpu" | "receiveCpu"): number => {
      const { fixed, perPage, perDataPage, perWireByte } = pipe[side];
      const [{ pages, wireBytes }] = found as [CalibrationRun];
      const known = fixed + pages * perPage + dataBytes / PAGE * perDataPage +
        wireBytes * perWireByte;
      return Math.max(0, median(found.map((run) => run[cpu])) - known) / dataBytes;
    };
    codecs[method] = {
      encode: beyond("send", "sendCpu"),
      decode: beyond("receive", "receiveCpu"),
      left: found[0]!.wireBytes / dataBytes,
    };
  }
  return { pipe, codecs };
}

function writeImage(file: string, size: number, byte: number): string {
  const piece = new Uint8Array(1 << 20).fill(byte);
  const fd = fs.openSync(file, "w");
  for (let at = 0; at < size; at += piece.length) fs.writeSync(fd, piece);
  fs.closeSync(fd);
  return file;
}

function dataPagesOf(image: string): number {
  const fd = fs.openSync(image, "r");
  const piece = new Uint8Array(1 << 20);
  let count = 0;
  while (fs.readSync(fd, piece) > 0) {
    for (let at = 0; at < piece.length; at += PAGE) {
      if (!isZeroPage(piece.subarray(at, at + PAGE))) count++;
    }
  }
  fs.closeSync(fd);
  return count;
}

async function moveOnce(
  program: QemuProgram,
  place: Place,
  image: string,
  method: string,
): Promise<CalibrationRun> {
  const { size } = fs.statSync(image);
  const ends = { method, channels: size === SMALLEST ? 1 : CHANNELS };
  const out = place.file("out");
  const source = new QemuSource(program, image, ends);
  const destination = new QemuDestination(program, size, out, ends);
  try {
    await source.prepare();
    const address = await destination.listen();
    place.warm(1.5 * size);
    const [sent, received] = await Promise.all([source.send(address), destination.received()]);
    return {
      pages: size / PAGE,
      wireBytes: sent.bytes!,
      sendCpu: sent.cpu,
      receiveCpu: received.cpu,
      time: sent.time! / 1000,
    };
  } finally {
    await Promise.all([source.close(), destination.close()]);
    fs.rmSync(out, { recursive: true });
  }
}
