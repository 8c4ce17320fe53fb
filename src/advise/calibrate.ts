/** Small migrations between two processes on this machine, to see what the pipe costs here. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { softwareEngine } from "../engines/select.ts";
import { MAX_PAYLOAD_SIZE } from "../methods/method.ts";
import { methodByName } from "../methods/registry.ts";
import { migrateBetweenProcesses, type ProcessFigures } from "../migration/two_processes.ts";
import { PACKET_SIZE } from "../protocol/ram_packet.ts";
import { timed } from "./measure.ts";
import {
  type CalibrationRun,
  type CalibrationRuns,
  fitPipe,
  type PackedCodec,
  type PipeCosts,
} from "./pipe.ts";

const PAGE = 4096;
/** Bytes of the images: some tenths of a second of work, and enough to have the code warm. */
const IMAGE_SIZE = 512 * 2 ** 20;
const SMALL_SIZE = 32 * 2 ** 20;
const ROUNDS = 3;
/** Channels get into each other's way a little, as they do where the advice is used. */
const CHANNELS = 2;
/** The longest that a migration may stand still, in seconds. */
const TIMEOUT = "20";

/** How it is done. */
export interface CalibrateOptions {
  /** How the `multifd` command is called. */
  command: readonly string[];
  /** Stops early. */
  signal?: AbortSignal | undefined;
  /** Told what is done next. */
  onProgress?: ((what: string) => void) | undefined;
}

/**
 * Measures what the pipe costs here.
 *
 * @throws {MultifdError} If a migration failed, {@linkcode CancelledError} if `signal` is aborted.
 */
export async function calibrate(options: CalibrateOptions): Promise<PipeCosts> {
  const folder = fs.mkdtempSync(path.join(roomyDirectory(), "multifd-calibrate-"));
  const remove = (): void => fs.rmSync(folder, { recursive: true, force: true });
  process.once("exit", remove);
  try {
    const [small, zero, data] = ["small", "zero", "data"].map((name) => path.join(folder, name));
    writeImage(small!, SMALL_SIZE, 1);
    writeImage(zero!, IMAGE_SIZE, 0);
    writeImage(data!, IMAGE_SIZE, 1);
    const runs: CalibrationRuns = { small: [], zero: [], packed: [], plain: [] };
    const out = path.join(folder, "out");
    let isThreaded = true;
    for (let round = 1; round <= ROUNDS; round++) {
      options.onProgress?.(`costs besides the codec, ${round} of ${ROUNDS}`);
      for (
        const [kind, image, method, channels] of [
          ["small", small!, "none", 1],
          ["zero", zero!, "none", CHANNELS],
          ["packed", data!, "zstd", CHANNELS],
          ["plain", data!, "none", CHANNELS],
        ] as const
      ) {
        const { run, transport } = await moveOnce({ image, method, channels }, out, options);
        runs[kind].push(run);
        isThreaded = transport === "native";
      }
    }
    return fitPipe(runs, await packedCodec(), isThreaded);
  } finally {
    remove();
    process.removeListener("exit", remove);
  }
}

/** Memory where there is room, so that no disk is measured. */
function roomyDirectory(): string {
  const memory = "/dev/shm";
  if (!fs.existsSync(memory)) return os.tmpdir();
  const { bavail, bsize } = fs.statfsSync(memory);
  return bavail * bsize > 4 * IMAGE_SIZE ? memory : os.tmpdir();
}

/** An image of one byte over and over. */
function writeImage(file: string, size: number, byte: number): void {
  const piece = new Uint8Array(Math.min(size, 2 ** 20)).fill(byte);
  const fd = fs.openSync(file, "wx");
  try {
    for (let at = 0; at < size; at += piece.length) fs.writeSync(fd, piece, 0, piece.length, at);
  } finally {
    fs.closeSync(fd);
  }
}

async function moveOnce(
  { image, method, channels }: { image: string; method: string; channels: number },
  out: string,
  { command, signal }: CalibrateOptions,
): Promise<{ run: CalibrationRun; transport: string }> {
  const both = ["--method", method, "--channels", String(channels), "--timeout", TIMEOUT];
  const { sent, received } = await migrateBetweenProcesses({ command, image, out, both, signal });
  fs.rmSync(out, { recursive: true });
  return {
    run: {
      pages: fs.statSync(image).size / PAGE,
      wireBytes: received.ram.transferred,
      sendCpu: cpuOf(sent),
      receiveCpu: cpuOf(received),
      time: received["total-time"] / 1000,
    },
    transport: received.transport,
  };
}

/** CPU seconds between the first connection and the last page. */
function cpuOf(figures: ProcessFigures): number {
  return figures["cpu-seconds"] - figures["start-up-cpu-seconds"] - figures["finish-cpu-seconds"];
}

/** What zstd itself takes for a page of the image that it packs. */
async function packedCodec(): Promise<PackedCodec> {
  const method = methodByName("zstd")!;
  const context = { pageSize: PAGE, level: 1 };
  const sender = await method.sendSetup({ ...context, engine: softwareEngine(method, "encodes") });
  const receiver = await method.receiveSetup({
    ...context,
    engine: softwareEngine(method, "decodes"),
  });
  const packets = 2 ** 28 / PACKET_SIZE;
  const pages = new Uint8Array(PACKET_SIZE).fill(1);
  const out = new Uint8Array(MAX_PAYLOAD_SIZE);
  const payloads: Uint8Array[] = [];
  try {
    const encode = await timed(false, async () => {
      for (let i = 0; i < packets; i++) {
        payloads.push(out.slice(0, await sender.prepare(pages, out)));
      }
    });
    const decode = await timed(false, async () => {
      for (const payload of payloads) await receiver.receive(payload, pages);
    });
    const count = packets * PACKET_SIZE / PAGE;
    return { encode: encode / count, decode: decode / count };
  } finally {
    sender.cleanup();
    receiver.cleanup();
  }
}
