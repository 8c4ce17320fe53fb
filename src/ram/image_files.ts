/** RAM to send that is in files: raw images, or a directory that was received. */
import fs from "node:fs";
import path from "node:path";
import { nodeCrypto } from "../builtin_modules.ts";
import { ImageError, VerificationError } from "../errors.ts";
import type { RamBlock } from "../protocol/ram_packet.ts";
import {
  DEVICE_STATE_FILE,
  type Manifest,
  MANIFEST_FILE,
  parseManifest,
  parseUuid,
} from "./manifest.ts";
import { imageError, isDirectory } from "./files.ts";
import { WatchedFile } from "./watched_file.ts";
import type { RamSource, SharedRam } from "./target.ts";

/** The block a raw file is, unless it is named. */
export const DEFAULT_BLOCK = "pc.ram";

/** Files as RAM; they are opened once, read only, and watched for change. */
export class ImageFiles implements RamSource {
  /** The blocks, in the order they were given. */
  readonly blocks: RamBlock[] = [];
  /** Machine type, where a manifest tells it. */
  readonly machine: string | undefined;
  /** The guest's uuid, where a manifest tells it. */
  readonly uuid: Uint8Array | undefined;
  /** Page size in bytes, where a manifest tells it. */
  readonly pageSize: number | undefined;
  /** What follows RAM's END, where there is a manifest. */
  readonly deviceState: Uint8Array | undefined;
  /** The manifest of a received directory. */
  readonly manifest: Manifest | undefined;
  readonly #files: WatchedFile[] = [];

  /**
   * Opens the image.
   *
   * @param images `FILE` (the block `pc.ram`) or `NAME=FILE`, each a block; or one directory
   *   that was received.
   * @throws {ImageError} If a file cannot be opened or a manifest does not fit its files.
   */
  constructor(images: readonly string[]) {
    try {
      const [first] = images;
      if (images.length === 1 && isDirectory(first!)) {
        const manifest = readManifest(first!);
        this.manifest = manifest;
        this.machine = manifest.machine;
        this.uuid = parseUuid(manifest.uuid);
        this.pageSize = manifest["page-size"];
        for (const block of manifest.blocks) {
          this.#open(block.name, path.join(first!, block.file), block["used-length"]);
        }
        this.deviceState = readDeviceState(first!, manifest);
        return;
      }
      for (const image of images) {
        const [name, file] = splitName(image);
        this.#open(name, file);
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #open(name: string, file: string, expected?: number): void {
    if (this.blocks.some((block) => block.name === name)) {
      throw new ImageError(`Cannot send two blocks named "${name}"; name them NAME=FILE`);
    }
    const opened = new WatchedFile(file);
    this.#files.push(opened);
    const usedLength = opened.size;
    if (expected !== undefined && usedLength !== expected) {
      throw new ImageError(`Image file ${file} has another length than its manifest says`, {
        block: name,
        expected,
        received: usedLength,
      });
    }
    this.blocks.push({ name, usedLength });
  }

  /** Reads pages of a block. */
  read(block: number, offset: number, into: Uint8Array): void {
    this.#files[block]!.readPages(this.blocks[block]!.name, 0, offset, into);
  }

  /** The files. */
  share(): SharedRam {
    const files = this.#files.map(({ path, descriptor }) => ({ path, descriptor, byteOffset: 0 }));
    return { type: "files", files };
  }

  /** Compares each file's size and times with those it had when it was opened. */
  verifyUnchanged(): void {
    for (const file of this.#files) file.verifyUnchanged();
  }

  /** Closes the files. */
  close(): void {
    for (const file of this.#files.splice(0)) file.close();
  }
}

/**
 * Reads the manifest of a received directory.
 *
 * @throws {ImageError} If there is none or it is not valid.
 */
export function readManifest(directory: string): Manifest {
  const file = path.join(directory, MANIFEST_FILE);
  let text: string;
  try {
    text = fs.readFileSync(file, "utf8");
  } catch (error) {
    throw imageError("Cannot read", file, error);
  }
  return parseManifest(text, file);
}

/**
 * Reads the device state of a received directory.
 *
 * @throws {ImageError} If it cannot be read.
 * @throws {VerificationError} If it is not what the manifest says.
 */
export function readDeviceState(directory: string, manifest: Manifest): Uint8Array {
  const file = path.join(directory, DEVICE_STATE_FILE);
  let bytes: Uint8Array;
  try {
    bytes = fs.readFileSync(file);
  } catch (error) {
    throw imageError("Cannot read", file, error);
  }
  const expected = manifest["device-state"].sha256;
  const received = nodeCrypto().createHash("sha256").update(bytes).digest("hex");
  if (received === expected) return bytes;
  throw new VerificationError(`${file} differs from its manifest: sha256`, { expected, received });
}

/** `NAME=FILE`, unless a file has that whole name. */
function splitName(image: string): [string, string] {
  const at = image.indexOf("=");
  if (at <= 0 || fs.existsSync(image)) return [DEFAULT_BLOCK, image];
  return [image.slice(0, at), image.slice(at + 1)];
}
