/** `convert()`: a saved VM in another form, on this machine. */
import { VerificationError } from "../errors.ts";
import type { RamBlock } from "../protocol/ram_packet.ts";
import { parseVmTail, type VmTail } from "../protocol/vm_tail.ts";
import { sha256Of } from "../ram/hash.ts";
import { ImageFiles } from "../ram/image_files.ts";
import { checkFormat, type ImageFormat, makeImage, openSavedVm } from "../ram/image_format.ts";
import { formatUuid, type Manifest } from "../ram/manifest.ts";
import type { FinishedBlock, RamSource, RamTarget } from "../ram/target.ts";
import { isZeroPage } from "../ram/zero_page.ts";
import { pieceWatcher, type ReadingOptions } from "./reading.ts";

/** What {@linkcode convert} is told. */
export interface ConvertOptions extends ReadingOptions {
  /** A directory that {@linkcode receive} made, or a mapped-ram file. */
  source: string;
  /** What to make; nothing may have that name. */
  out: string;
  /** Its form. Default the one that `source` has not. */
  format?: ImageFormat | undefined;
  /** Most bytes of guest RAM in a mapped-ram file. Default 1 TiB. */
  maxRam?: number | undefined;
}

/** A VM that was converted. */
export interface Converted {
  /** The form it has now. */
  format: ImageFormat;
  /** Machine type. */
  machine: string;
  /** The guest's uuid. */
  uuid: string;
  /** Page size in bytes. */
  pageSize: number;
  /** The blocks, with the hashes that were read back. */
  blocks: FinishedBlock[];
  /** What followed RAM's END. */
  tail: VmTail;
}

/**
 * Turns a received directory into a mapped-ram file, which a QEMU loads with
 * `-incoming file:`, and a mapped-ram file into a directory. The source is verified on the
 * way; the result has its name only when it is whole, verified and on disk.
 *
 * @param options From what to what.
 * @returns What was made.
 * @throws {OptionError} If the format is unknown.
 * @throws {ImageError} If the source cannot be read or the result not be made.
 * @throws {VerificationError} If the source is not what it says.
 * @throws {CancelledError} If `signal` is aborted; nothing is left behind.
 *
 * @example
 * ```ts no-eval
 * import { convert } from "@multifd/multifd";
 *
 * await convert({ source: "saved-vm", out: "saved-vm.mapped-ram" });
 * ```
 */
export async function convert(options: ConvertOptions): Promise<Converted> {
  const source = openSavedVm(options.source, options.maxRam);
  try {
    const isDirectory = source instanceof ImageFiles;
    const format = checkFormat(options.format ?? (isDirectory ? "mapped-ram" : "directory"));
    const manifest = isDirectory ? source.manifest : undefined;
    const tail = isDirectory ? parseVmTail(source.deviceState!, "Device state") : source.tail;
    const target = makeImage(format, options.out, true);
    try {
      const blocks = await copy(source, target, manifest, options);
      const vm = {
        machine: source.machine!,
        uuid: source.uuid ?? new Uint8Array(16),
        pageSize: source.pageSize!,
        tail,
      };
      const finished = await target.finish({
        ...vm,
        counters: manifest?.counters ?? {},
        source: manifest?.source,
      }, blocks);
      return { ...vm, format, uuid: formatUuid(vm.uuid), blocks: finished };
    } catch (error) {
      target.discard();
      throw error;
    }
  } finally {
    source.close();
  }
}

/** Copies the pages with data, and hashes all of them; a hash of the manifest must be right. */
async function copy(
  source: RamSource,
  target: RamTarget,
  manifest: Manifest | undefined,
  options: ReadingOptions,
): Promise<FinishedBlock[]> {
  const pageSize = source.pageSize!;
  target.create(source.blocks, pageSize);
  const blocks: FinishedBlock[] = [];
  const watch = pieceWatcher(source.blocks, options);
  for (const [i, block] of source.blocks.entries()) {
    const sha256 = await sha256Of(block.usedLength, (offset, size) => {
      watch(size);
      const pages = new Uint8Array(size);
      source.read(i, offset, pages);
      writeData(target, i, offset, pages, pageSize);
      return pages;
    });
    const told = manifest?.blocks[i];
    checkHash(block, told?.sha256 ?? sha256, sha256);
    blocks.push({ ...block, sha256, missing: told?.["missing-pages"] ?? 0 });
  }
  source.verifyUnchanged();
  return blocks;
}

function checkHash({ name }: RamBlock, expected: string, received: string): void {
  if (received === expected) return;
  throw new VerificationError("Block differs from its manifest: sha256", {
    block: name,
    expected,
    received,
  });
}

/** Writes pages but for zero pages, which a new image has everywhere. */
function writeData(
  target: RamTarget,
  block: number,
  offset: number,
  pages: Uint8Array,
  pageSize: number,
): void {
  for (let start = 0, end = 0; start < pages.length; start = end + pageSize) {
    const offsets: number[] = [];
    for (end = start; end < pages.length; end += pageSize) {
      if (isZeroPage(pages.subarray(end, end + pageSize))) break;
      offsets.push(offset + end);
    }
    if (offsets.length > 0) {
      target.write(block, Float64Array.from(offsets), pages.subarray(start, end));
    }
  }
}
