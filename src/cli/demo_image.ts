/** A guest's memory made of this machine's own files, zeros and noise, the same for one seed. */
import { createCipheriv } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { randomNumbers } from "../random_numbers.ts";

const PAGE = 4096;
const MAX_RUN = 64;
const MAX_FILES = 4000;
const PROGRAM_DIRECTORIES = ["/usr/bin", "/usr/lib"];
const TEXT_DIRECTORIES = ["/usr/include", "/usr/share", "/etc"];
const TEXT = /\.(c|h|py|js|ts|json|pm|pl|txt|md|xml|conf|html|rst)$/;

/** Shares of the image: what a guest with some free memory and some caches looks like. */
const SHARES = { zero: 0.3, noise: 0.2, program: 0.3, text: 0.2 };

function findFiles(directories: string[], isWanted: (file: string) => boolean): string[] {
  const found: string[] = [];
  const queue = [...directories];
  while (queue.length > 0 && found.length < MAX_FILES) {
    const directory = queue.shift()!;
    let entries: fs.Dirent[] = [];
    try {
      entries = fs.readdirSync(directory, { withFileTypes: true });
    } catch {
      continue; // no such directory, or not ours to read
    }
    for (const entry of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
      const file = path.join(directory, entry.name);
      if (entry.isDirectory()) queue.push(file);
      else if (entry.isFile() && isWanted(file)) found.push(file);
    }
  }
  return found;
}

/** Gives the files' contents as one endless stream, each file from a page's start. */
class FileStream {
  readonly #files: string[];
  #next = 0;
  #held: Uint8Array = new Uint8Array(0);

  constructor(files: string[]) {
    // the runtime itself is always there
    this.#files = [...files, process.execPath];
  }

  take(size: number): Uint8Array {
    const bytes = new Uint8Array(size);
    let filled = 0;
    while (filled < size) {
      if (this.#held.length === 0) this.#held = this.#read();
      const part = this.#held.subarray(0, size - filled);
      bytes.set(part, filled);
      filled += Math.ceil(part.length / PAGE) * PAGE;
      this.#held = this.#held.subarray(part.length);
    }
    return bytes;
  }

  #read(): Uint8Array {
    const file = this.#files[this.#next++ % this.#files.length]!;
    try {
      return fs.readFileSync(file);
    } catch {
      return new Uint8Array(0);
    }
  }
}

/**
 * Gives an image in pieces: runs of 1 to 64 zero, random, program and text pages.
 *
 * @param size Bytes, whole pages.
 * @param seed Chooses the runs and the noise.
 */
export function* demoPages(size: number, seed: number): Generator<Uint8Array> {
  const random = randomNumbers(seed);
  const noise = createCipheriv("aes-128-ctr", new Uint8Array(16).fill(seed), new Uint8Array(16));
  const isBig = (name: string): boolean => fs.statSync(name).size >= 16384;
  const programs = new FileStream(findFiles(PROGRAM_DIRECTORIES, isBig));
  const texts = new FileStream(findFiles(TEXT_DIRECTORIES, (name) => TEXT.test(name)));
  for (let at = 0; at < size;) {
    const run = Math.min(size - at, PAGE * (1 + Math.floor(random() * MAX_RUN)));
    const kind = random();
    if (kind < SHARES.zero) yield new Uint8Array(run);
    else if (kind < SHARES.zero + SHARES.noise) yield noise.update(new Uint8Array(run));
    else if (kind < 1 - SHARES.text) yield programs.take(run);
    else yield texts.take(run);
    at += run;
  }
}

/**
 * Writes such an image.
 *
 * @param file Where.
 * @param size Bytes, whole pages.
 * @param seed Chooses the runs and the noise.
 */
export function writeDemoImage(file: string, size: number, seed = 1): void {
  const fd = fs.openSync(file, "wx");
  try {
    for (const pages of demoPages(size, seed)) fs.writeSync(fd, pages);
  } finally {
    fs.closeSync(fd);
  }
}
