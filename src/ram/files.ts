/** What everything that keeps RAM in files does with them. */
import fs from "node:fs";
import { promisify } from "node:util";
import { ImageError } from "../errors.ts";

/** Puts a file on disk, off the event loop's thread: a large one takes seconds. */
export const fsync = promisify(fs.fsync);

/** Puts what a file holds by now on disk, while it is being written. */
export const fdatasync = promisify(fs.fdatasync);

/** Turns a system error into an {@linkcode ImageError} that names the file and keeps the code. */
export function imageError(what: string, file: string, cause: unknown): ImageError {
  const { code, message } = cause as { code?: string; message: string };
  return new ImageError(`${what} ${file}: ${code ? "system error" : message}`, { code }, { cause });
}

/** Whether a path is a directory; false if it is nothing. */
export function isDirectory(file: string): boolean {
  return fs.statSync(file, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** Whether a path is a regular file; false if it is nothing. */
export function isFile(file: string): boolean {
  return fs.statSync(file, { throwIfNoEntry: false })?.isFile() === true;
}

/** Writes all of the bytes. */
export function writeWhole(fd: number, bytes: Uint8Array, offset: number): void {
  let at = 0;
  while (at < bytes.length) at += fs.writeSync(fd, bytes, at, bytes.length - at, offset + at);
}

/** Reads until the bytes are full or the file is over; returns how many there were. */
export function readWhole(fd: number, into: Uint8Array, offset: number): number {
  let at = 0;
  while (at < into.length) {
    const read = fs.readSync(fd, into, at, into.length - at, offset + at);
    if (read === 0) break;
    at += read;
  }
  return at;
}

/**
 * Waits for all, also after one has failed: only then may what they use be closed.
 *
 * @throws The first one's error, in their order.
 */
export async function allDone<T extends readonly unknown[] | []>(
  promises: T,
): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  await Promise.allSettled(promises);
  return await Promise.all(promises);
}

/** Puts a directory's names on disk. */
export async function syncDirectory(directory: string): Promise<void> {
  const fd = fs.openSync(directory, "r");
  try {
    await fsync(fd);
  } finally {
    fs.closeSync(fd);
  }
}
