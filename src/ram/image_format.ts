/** The two forms in which a VM lies on disk, and choosing between them. */
import { ImageError, OptionError } from "../errors.ts";
import { isDirectory } from "./files.ts";
import { ImageDirectory } from "./image_directory.ts";
import { ImageFiles } from "./image_files.ts";
import { isMigrationFile, MappedRamSource } from "./mapped_ram_source.ts";
import { MappedRamTarget } from "./mapped_ram_target.ts";
import type { RamTarget } from "./target.ts";

/** A directory with a manifest, or one file that a QEMU loads by itself. */
export type ImageFormat = "directory" | "mapped-ram";

/** Names that `--format` takes. */
export const IMAGE_FORMATS: readonly ImageFormat[] = ["directory", "mapped-ram"];

/** Checks a format that a caller named. */
export function checkFormat(format: ImageFormat): ImageFormat {
  if (IMAGE_FORMATS.includes(format)) return format;
  throw new OptionError(
    `Format "${format}" is unknown; there are: ${IMAGE_FORMATS.join(", ")}`,
  );
}

/**
 * Takes the place of a new image.
 *
 * @param format Its form.
 * @param path Its name.
 * @param hash Whether its blocks are hashed.
 * @throws {ImageError} If the name is taken or nothing can be made there.
 */
export function makeImage(format: ImageFormat, path: string, hash: boolean): RamTarget {
  return format === "mapped-ram" ? new MappedRamTarget(path, hash) : new ImageDirectory(path, hash);
}

/**
 * Opens a saved VM, whichever form it has.
 *
 * @param path A directory that was received, or a mapped-ram file.
 * @param maxRam Most bytes of RAM in a mapped-ram file. Default 1 TiB.
 * @throws {ImageError} If it is neither or cannot be read.
 * @throws {VerificationError} If it is not what it says.
 */
export function openSavedVm(path: string, maxRam?: number): ImageFiles | MappedRamSource {
  if (isDirectory(path)) return new ImageFiles([path]);
  if (isMigrationFile(path)) return new MappedRamSource(path, maxRam);
  throw new ImageError(
    `Cannot read ${path}: it is neither a received directory nor a mapped-ram file`,
  );
}
