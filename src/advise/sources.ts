/** What `advise` samples: an image, a saved VM, a recording, files as they are, a running guest. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { ImageError } from "../errors.ts";
import { inspect } from "../migration/inspect.ts";
import { imageError, isDirectory, readWhole } from "../ram/files.ts";
import { openSavedVm } from "../ram/image_format.ts";
import { ImageFiles } from "../ram/image_files.ts";
import { MANIFEST_FILE } from "../ram/manifest.ts";
import { isMigrationFile } from "../ram/mapped_ram_source.ts";
import { isRecording } from "../transport/recording.ts";
import { ProcessMemory } from "./process_memory.ts";
import type { PageSource } from "./sample.ts";

/** What was opened. */
export type SourceKind = "image" | "saved VM" | "recording" | "files" | "process";

/** An opened source. */
export interface OpenedSource {
  /** What it is. */
  kind: SourceKind;
  /** Its pages. */
  pages: PageSource;
  /** Page size in bytes, where it is known. */
  pageSize: number | undefined;
  /** Gives everything back. */
  close(): void;
}

/**
 * Opens what is to be sampled.
 *
 * @param source A raw image, a mapped-ram file, a directory: received, a recording, or of any
 *   files; or the number of a process.
 * @param signal Stops early.
 * @throws {ImageError} If it cannot be read.
 * @throws {CancelledError} If `signal` is aborted.
 */
export async function openSampled(
  source: string | { pid: number },
  signal?: AbortSignal,
): Promise<OpenedSource> {
  if (typeof source !== "string") {
    const memory = new ProcessMemory(source.pid);
    return { kind: "process", pages: memory, pageSize: undefined, close: () => memory.close() };
  }
  if (!isDirectory(source)) {
    if (isMigrationFile(source)) return opened("saved VM", openSavedVm(source));
    return opened("image", new ImageFiles([source]));
  }
  if (isRecording(source)) return await playRecording(source, signal);
  if (fs.existsSync(path.join(source, MANIFEST_FILE))) {
    return opened("saved VM", openSavedVm(source));
  }
  const files = new FilesAsPages(source);
  return { kind: "files", pages: files, pageSize: undefined, close: () => {} };
}

function opened(kind: SourceKind, source: ReturnType<typeof openSavedVm>): OpenedSource {
  return { kind, pages: source, pageSize: source.pageSize, close: () => source.close() };
}

/** A recording holds packets, not pages: its RAM is made of it first. */
async function playRecording(
  directory: string,
  signal: AbortSignal | undefined,
): Promise<OpenedSource> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-advise-"));
  const remove = (): void => fs.rmSync(folder, { recursive: true, force: true });
  try {
    const extract = path.join(folder, "vm");
    await inspect(directory, { extract, signal });
    const { pages, pageSize, close } = opened("saved VM", openSavedVm(extract));
    return {
      kind: "recording",
      pages,
      pageSize,
      close() {
        close();
        remove();
      },
    };
  } catch (error) {
    remove();
    throw error;
  }
}

/** Files start at pages, as they do in a guest's page cache. */
const FILE_ALIGNMENT = 4096;

interface PlacedFile {
  path: string;
  start: number;
  size: number;
}

/** All files of a directory, one after another, as one block. */
class FilesAsPages implements PageSource {
  readonly blocks: { name: string; usedLength: number }[];
  readonly #files: PlacedFile[] = [];

  constructor(directory: string) {
    let end = 0;
    for (const file of filesOf(directory)) {
      const { size } = fs.statSync(file);
      if (size === 0) continue;
      this.#files.push({ path: file, start: end, size });
      end += Math.ceil(size / FILE_ALIGNMENT) * FILE_ALIGNMENT;
    }
    if (end === 0) throw new ImageError(`Cannot sample ${directory}: there is not one byte in it`);
    this.blocks = [{ name: "files", usedLength: end }];
  }

  read(_block: number, offset: number, into: Uint8Array): void {
    into.fill(0);
    const end = offset + into.length;
    for (let i = this.#firstAt(offset); i < this.#files.length; i++) {
      const { path, start, size } = this.#files[i]!;
      if (start >= end) return;
      const from = Math.max(offset, start);
      const to = Math.min(end, start + size);
      if (from < to) readPart(path, from - start, into.subarray(from - offset, to - offset));
    }
  }

  /** The last file that starts at or before an offset. */
  #firstAt(offset: number): number {
    let [low, high] = [0, this.#files.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#files[middle]!.start <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

function filesOf(directory: string): string[] {
  let entries: fs.Dirent[];
  try {
    entries = fs.readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    throw imageError("Cannot read", directory, error);
  }
  return entries.sort((a, b) => a.name < b.name ? -1 : 1).flatMap((entry) => {
    const name = path.join(directory, entry.name);
    if (entry.isDirectory()) return filesOf(name);
    return entry.isFile() ? [name] : [];
  });
}

/** What a file has lost since is zero. */
function readPart(file: string, offset: number, into: Uint8Array): void {
  let fd: number | undefined;
  try {
    fd = fs.openSync(file, "r");
    readWhole(fd, into, offset);
  } catch (error) {
    throw imageError("Cannot read", file, error);
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}
