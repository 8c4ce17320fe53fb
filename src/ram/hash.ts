/** SHA-256 of a block, in pieces, with the event loop alive in between. */
import { Buffer } from "node:buffer";
import fs from "node:fs";
import { setImmediate } from "node:timers/promises";
import { nodeCrypto } from "../builtin_modules.ts";
import { ImageError, VerificationError } from "../errors.ts";
import type { FinishedBlock } from "./target.ts";

const PIECE = 4 * 1024 * 1024;

/**
 * Hashes `length` bytes.
 *
 * @param length Bytes in all.
 * @param read Returns the bytes of a range.
 * @returns The hash in hex.
 */
export async function sha256Of(
  length: number,
  read: (offset: number, size: number) => Uint8Array,
): Promise<string> {
  const hash = nodeCrypto().createHash("sha256");
  for (let offset = 0; offset < length; offset += PIECE) {
    hash.update(read(offset, Math.min(PIECE, length - offset)));
    await setImmediate();
  }
  return hash.digest("hex");
}

/** Hashes a few bytes, without node:crypto, which takes longer to load than this. */
export async function sha256OfBytes(bytes: Uint8Array): Promise<string> {
  // a copy: it refuses shared memory
  return Buffer.from(await crypto.subtle.digest("SHA-256", bytes.slice())).toString("hex");
}

/** Fills an array from a file, off this thread. */
async function fill(fd: number, into: Uint8Array, offset: number): Promise<void> {
  for (let at = 0; at < into.length;) {
    const read = await new Promise<number>((resolve, reject) => {
      fs.read(fd, into, at, into.length - at, offset + at, (error, bytes) => {
        if (error) reject(error);
        else resolve(bytes);
      });
    });
    if (read === 0) throw new ImageError("Image shrank while it was hashed");
    at += read;
  }
}

/**
 * Hashes a stretch of a file. Each piece is read while the one before is hashed: nothing but
 * the hash itself then takes time, and a guest may stand still meanwhile. The file is opened
 * anew: of one descriptor, Deno would wait for a sync before it reads on.
 *
 * @param file The file.
 * @param start Where the stretch starts, in bytes.
 * @param length Bytes in all.
 * @returns The hash in hex.
 */
async function hashFile(file: string, start: number, length: number): Promise<string> {
  const fd = fs.openSync(file, "r");
  try {
    return await hashStretch(fd, start, length);
  } finally {
    fs.closeSync(fd);
  }
}

async function hashStretch(fd: number, start: number, length: number): Promise<string> {
  const hash = nodeCrypto().createHash("sha256");
  const buffers = [0, 1].map(() => new Uint8Array(Math.min(PIECE, length)));
  const readPiece = async (at: number): Promise<Uint8Array> => {
    const piece = buffers[at / PIECE % 2]!.subarray(0, length - at);
    await fill(fd, piece, start + at);
    return piece;
  };
  let next = readPiece(0);
  for (let at = 0; at < length; at += PIECE) {
    const piece = await next;
    if (at + PIECE < length) next = readPiece(at + PIECE);
    hash.update(piece);
  }
  return hash.digest("hex");
}

/**
 * Hashes a block that lies in a file.
 *
 * @param file The file.
 * @param start Where the block starts in it, in bytes.
 * @param block The block; where its hash is told, it must have that one.
 * @returns The block with its hash.
 * @throws {VerificationError} If it has another.
 */
export async function hashBlock(
  file: string,
  start: number,
  block: FinishedBlock,
): Promise<FinishedBlock> {
  const sha256 = await hashFile(file, start, block.usedLength);
  if (sha256 === (block.sha256 ?? sha256)) return { ...block, sha256 };
  throw new VerificationError("Block was written wrong: sha256", {
    block: block.name,
    expected: block.sha256,
    received: sha256,
  });
}
