/** Where a benchmark keeps its images: memory, if they fit there, so that no disk is measured. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { writeDemoImage } from "../src/cli/demo_image.ts";
import { tell } from "../src/cli/output.ts";

const PIECE = 16 << 20;

/** An image, as a report tells it. */
export interface ImageInfo {
  bytes: number;
  sha256: string;
}

/** A directory of one benchmark, gone when its process ends. */
export class Place {
  readonly directory: string;
  /** What a report must tell of it. */
  readonly notes: string[] = [];

  /** @param room Bytes it must have room for. */
  constructor(room: number) {
    const shm = fs.existsSync("/dev/shm") ? fs.statfsSync("/dev/shm") : { bavail: 0, bsize: 0 };
    const parent = shm.bavail * shm.bsize > room ? "/dev/shm" : os.tmpdir();
    if (parent !== "/dev/shm") this.notes.push("no room in /dev/shm: a disk is measured, too");
    this.directory = fs.mkdtempSync(path.join(parent, "multifd-bench-"));
    process.once("exit", () => fs.rmSync(this.directory, { recursive: true, force: true }));
  }

  /** A file or directory in it. */
  file(name: string): string {
    return path.join(this.directory, name);
  }

  /**
   * Touches memory and frees it: where a virtual machine's host has taken free memory back,
   * touching it again costs more than the copy that is measured.
   */
  warm(bytes: number): void {
    const file = this.file("warm");
    const chunk = new Uint8Array(PIECE).fill(1);
    const fd = fs.openSync(file, "w");
    try {
      for (let at = 0; at < bytes; at += PIECE) fs.writeSync(fd, chunk, 0, PIECE, at);
    } finally {
      fs.closeSync(fd);
      fs.rmSync(file);
    }
  }

  /** An image of guest RAM: the one given, or one made of this machine's own data. */
  image(size: number, given: string | undefined): string {
    const file = given ?? this.file("guest.ram");
    if (given === undefined) {
      tell(`making ${size / 2 ** 20} MiB of guest RAM in ${this.directory}`);
      writeDemoImage(file, size);
    } else if (fs.statSync(given).size !== size) {
      throw new Error(`${given} has ${fs.statSync(given).size} bytes, not ${size} (--size)`);
    }
    return file;
  }
}

/** Length and hash of an image. */
export function describeImage(file: string): ImageInfo {
  const hash = createHash("sha256");
  const chunk = new Uint8Array(PIECE);
  const fd = fs.openSync(file, "r");
  let bytes = 0;
  try {
    for (let read = 1; read > 0; bytes += read) {
      read = fs.readSync(fd, chunk, 0, PIECE, bytes);
      hash.update(chunk.subarray(0, read));
    }
  } finally {
    fs.closeSync(fd);
  }
  return { bytes, sha256: hash.digest("hex") };
}
