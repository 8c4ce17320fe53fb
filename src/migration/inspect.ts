/** `inspect()`: what a recording or a received directory holds, every byte of it verified. */
import fs from "node:fs";
import path from "node:path";
import { ImageError, VerificationError } from "../errors.ts";
import { parseVmTail, type VmTail } from "../protocol/vm_tail.ts";
import { sha256Of } from "../ram/hash.ts";
import { ImageDirectory } from "../ram/image_directory.ts";
import { ImageFiles, readDeviceState, readManifest } from "../ram/image_files.ts";
import {
  DEVICE_STATE_FILE,
  formatUuid,
  type Manifest,
  MANIFEST_FILE,
  type ManifestCounters,
  type ManifestSource,
} from "../ram/manifest.ts";
import { isFile } from "../ram/files.ts";
import { MappedRamSource } from "../ram/mapped_ram_source.ts";
import { SparseMemory } from "../ram/sparse_memory.ts";
import type { FinishedBlock, RamSource } from "../ram/target.ts";
import { isRecording, PlayedConnection, recordingFiles } from "../transport/recording.ts";
import type { Received } from "./info.ts";
import { pieceWatcher, type ReadingOptions } from "./reading.ts";
import { Receiver } from "./receiver.ts";

/** What {@linkcode inspect} can be told. */
export interface InspectOptions extends ReadingOptions {
  /** A new directory that gets the RAM of a recording. */
  extract?: string | undefined;
  /** Pages that never arrived: an error, or taken as zero and counted. Default `error`. */
  missing?: "error" | "zero" | undefined;
  /** Most bytes of guest RAM. Default 1 TiB. */
  maxRam?: number | undefined;
  /** Engine to decompress with. Default `auto`. */
  engine?: string | undefined;
}

/** What was found in a recording. */
export interface RecordingReport extends Received {
  /** What it is. */
  kind: "recording";
}

/** What was found in a received directory. */
export interface DirectoryReport {
  /** What it is. */
  kind: "directory";
  /** Machine type. */
  machine: string;
  /** The guest's uuid. */
  uuid: string;
  /** Page size in bytes. */
  pageSize: number;
  /** The blocks, with the hashes their files have. */
  blocks: FinishedBlock[];
  /** What followed RAM's END. */
  tail: VmTail;
  /** Whether the manifest had a hash of every block to compare with. */
  isVerified: boolean;
  /** The counters of the migration it was received in. */
  counters: ManifestCounters;
  /** What is known of the source, where somebody asked it. */
  source: ManifestSource | undefined;
}

/** A block of a mapped-ram file. */
export interface MappedRamBlock extends FinishedBlock {
  /** Pages that hold data; the others are zero. */
  presentPages: number;
}

/** What was found in a mapped-ram file. */
export interface MappedRamReport {
  /** What it is. */
  kind: "mapped-ram";
  /** Machine type. */
  machine: string;
  /** The guest's uuid; zeros where the file tells none. */
  uuid: string;
  /** Page size in bytes. */
  pageSize: number;
  /** Capabilities without which it cannot be loaded. */
  capabilities: readonly string[];
  /** The blocks, with the hashes of their pages. */
  blocks: MappedRamBlock[];
  /** What followed RAM's END. */
  tail: VmTail;
}

/**
 * Inspects a recording (`main.bin`, `ch0.bin`…), a directory that was received, or a mapped-ram
 * file. Everything is verified: a recording is received as it would be from the wire, a
 * directory's files are hashed and compared with its manifest, and all of a mapped-ram file
 * but the pages must be what it says; of them it tells the hashes.
 *
 * @param source The recording, directory or file.
 * @param options Where to extract to, and bounds.
 * @returns What is in it.
 * @throws {ImageError} If it is none of them, or cannot be read.
 * @throws {ProtocolError} If a recording does not keep to the protocol.
 * @throws {PeerClosedError} If a recording is cut short.
 * @throws {VerificationError} If something in it is not what it says.
 * @throws {EngineUnavailableError} If `engine` is unknown or cannot be used here.
 * @throws {CancelledError} If `signal` is aborted.
 *
 * @example
 * ```ts no-eval
 * import { inspect } from "@multifd/multifd";
 *
 * const report = await inspect("recording");
 * for (const { name, sha256 } of report.blocks) console.log(name, sha256);
 * ```
 */
export async function inspect(
  source: string,
  options: InspectOptions = {},
): Promise<RecordingReport | DirectoryReport | MappedRamReport> {
  if (isRecording(source)) return await inspectRecording(source, options);
  if (isFile(source)) return await inspectMappedRam(source, options);
  if (!fs.existsSync(path.join(source, MANIFEST_FILE))) {
    throw new ImageError(
      `Cannot inspect ${source}: it has neither main.bin (a recording) nor ${MANIFEST_FILE}`,
    );
  }
  if (options.extract !== undefined) {
    throw new ImageError(`Cannot extract ${source}: its blocks are files already`);
  }
  return await inspectDirectory(source, options);
}

async function inspectRecording(
  directory: string,
  options: InspectOptions,
): Promise<RecordingReport> {
  const { main, channels } = recordingFiles(directory);
  const target = options.extract === undefined
    ? new SparseMemory()
    : new ImageDirectory(options.extract, true);
  const receiver = new Receiver({
    target,
    channels: channels.length,
    engine: options.engine,
    maxRam: options.maxRam,
    missingAsZero: options.missing === "zero",
    timeout: 0,
    transport: "recording",
    isPlayback: true,
    signal: options.signal,
    onEvent(event) {
      if (event.type !== "progress") return;
      const { pages, totalPages, pageSize } = event;
      options.onProgress?.(Math.min(pages, totalPages) * pageSize, totalPages * pageSize);
    },
    drain: () => Promise.resolve(),
  });
  const done = receiver.run();
  try {
    for (const file of [main, ...channels.map(({ path }) => path)]) {
      receiver.add(new PlayedConnection(file));
    }
  } catch (error) {
    receiver.fail(error);
  }
  return { kind: "recording", ...await done };
}

async function inspectDirectory(
  directory: string,
  options: ReadingOptions,
): Promise<DirectoryReport> {
  const manifest = readManifest(directory);
  const image = new ImageFiles([directory]);
  try {
    const blocks = await verifyBlocks(image, manifest, directory, options);
    return {
      kind: "directory",
      machine: manifest.machine,
      uuid: manifest.uuid,
      pageSize: manifest["page-size"],
      blocks,
      tail: parseVmTail(
        readDeviceState(directory, manifest),
        path.join(directory, DEVICE_STATE_FILE),
      ),
      isVerified: manifest.blocks.every(({ sha256 }) => sha256 !== null),
      counters: manifest.counters,
      source: manifest.source,
    };
  } finally {
    image.close();
  }
}

async function inspectMappedRam(file: string, options: InspectOptions): Promise<MappedRamReport> {
  if (options.extract !== undefined) {
    throw new ImageError(`Cannot extract ${file}: make a directory of it with convert`);
  }
  const image = new MappedRamSource(file, options.maxRam);
  try {
    const { machine, uuid, pageSize, capabilities, presentPages, tail } = image;
    const blocks: MappedRamBlock[] = [];
    const watch = pieceWatcher(image.blocks, options);
    for (const [i, block] of image.blocks.entries()) {
      const sha256 = await hashOf(image, i, watch);
      blocks.push({ ...block, sha256, missing: 0, presentPages: presentPages[i]! });
    }
    image.verifyUnchanged();
    return {
      kind: "mapped-ram",
      machine,
      uuid: formatUuid(uuid ?? new Uint8Array(16)),
      pageSize,
      capabilities,
      blocks,
      tail,
    };
  } finally {
    image.close();
  }
}

async function hashOf(
  image: RamSource,
  block: number,
  watch: (bytes: number) => void,
): Promise<string> {
  return await sha256Of(image.blocks[block]!.usedLength, (offset, size) => {
    watch(size);
    const bytes = new Uint8Array(size);
    image.read(block, offset, bytes);
    return bytes;
  });
}

async function verifyBlocks(
  image: ImageFiles,
  manifest: Manifest,
  directory: string,
  options: ReadingOptions,
): Promise<FinishedBlock[]> {
  const blocks: FinishedBlock[] = [];
  const watch = pieceWatcher(image.blocks, options);
  for (const [i, block] of manifest.blocks.entries()) {
    const usedLength = block["used-length"];
    const sha256 = await hashOf(image, i, watch);
    if (block.sha256 !== null && block.sha256 !== sha256) {
      throw new VerificationError(
        `${path.join(directory, block.file)} differs from its manifest: sha256`,
        { block: block.name, expected: block.sha256, received: sha256 },
      );
    }
    blocks.push({ name: block.name, usedLength, sha256, missing: block["missing-pages"] });
  }
  return blocks;
}
