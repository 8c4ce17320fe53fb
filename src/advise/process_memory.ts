/** The RAM of a guest that runs, read from outside its QEMU, which goes on meanwhile. */
import fs from "node:fs";
import { ImageError } from "../errors.ts";
import type { RamBlock } from "../protocol/ram_packet.ts";
import { guestMappings, type Mapping, parseSmaps } from "./smaps.ts";

/** Pages of the page map's entries: x86's, whatever the guest's are. */
const HOST_PAGE = 4096;
/** Bytes of a page's entry in the page map; its last byte has the bits "present" and "swapped". */
const ENTRY = 8;
const PRESENT_OR_SWAPPED = 0xc0;

/** The memory of a running QEMU's guest, as blocks. */
export class ProcessMemory {
  /** A block for each mapping, named by its address. */
  readonly blocks: readonly RamBlock[];
  readonly #pid: number;
  readonly #mappings: readonly Mapping[];
  readonly #memory: number;
  readonly #pageMap: number | undefined;

  /**
   * Finds the guest's RAM in a process.
   *
   * @param pid The QEMU's process.
   * @throws {ImageError} If there is none, or it may not be looked at.
   */
  constructor(pid: number) {
    this.#pid = pid;
    this.#mappings = guestMappings(parseSmaps(attempt(pid, "smaps", readText)));
    if (this.#mappings.length === 0) {
      throw new ImageError(`Cannot find guest RAM in process ${pid}: is it a QEMU?`);
    }
    this.blocks = this.#mappings.map(({ start, end }) => ({
      name: start.toString(16),
      usedLength: end - start,
    }));
    this.#memory = attempt(pid, "mem", openFile);
    try {
      this.#pageMap = openFile(`/proc/${pid}/pagemap`);
    } catch {
      // not everywhere; then every page is read
    }
  }

  /** Reads pages; those that the guest never touched are zero, and are left untouched. */
  read(block: number, offset: number, into: Uint8Array): void {
    const { start } = this.#mappings[block]!;
    const touched = this.#touched(start + offset, into.length);
    if (touched === undefined) return this.#readMemory(start + offset, into);
    for (let first = 0; first < touched.length;) {
      let end = first + 1;
      while (end < touched.length && touched[end] === touched[first]) end++;
      const run = into.subarray(first * HOST_PAGE, end * HOST_PAGE);
      if (touched[first]) this.#readMemory(start + offset + first * HOST_PAGE, run);
      else run.fill(0);
      first = end;
    }
  }

  /** Which pages are in memory or in swap: reading another could allocate it. */
  #touched(address: number, length: number): boolean[] | undefined {
    if (this.#pageMap === undefined) return undefined;
    const entries = new Uint8Array(Math.ceil(length / HOST_PAGE) * ENTRY);
    const at = address / HOST_PAGE * ENTRY;
    if (fs.readSync(this.#pageMap, entries, 0, entries.length, at) < entries.length) {
      return undefined;
    }
    const last = entries.filter((_, i) => i % ENTRY === ENTRY - 1);
    return Array.from(last, (bits) => (bits & PRESENT_OR_SWAPPED) !== 0);
  }

  #readMemory(address: number, into: Uint8Array): void {
    for (let at = 0; at < into.length;) {
      let read = 0;
      try {
        read = fs.readSync(this.#memory, into, at, into.length - at, address + at);
      } catch (error) {
        throw unreadable(this.#pid, error);
      }
      if (read === 0) throw unreadable(this.#pid, new Error("it ended"));
      at += read;
    }
  }

  /** Closes what was opened. */
  close(): void {
    fs.closeSync(this.#memory);
    if (this.#pageMap !== undefined) fs.closeSync(this.#pageMap);
  }
}

const readText = (file: string): string => fs.readFileSync(file, "latin1");
const openFile = (file: string): number => fs.openSync(file, "r");

function attempt<T>(pid: number, name: string, look: (file: string) => T): T {
  try {
    return look(`/proc/${pid}/${name}`);
  } catch (error) {
    throw unreadable(pid, error);
  }
}

function unreadable(pid: number, cause: unknown): ImageError {
  const { name, code, message } = cause as Error & { code?: string };
  const why = name === "NotCapable"
    ? "Deno shows /proc with -A only"
    : code === "ENOENT" || code === "ESRCH"
    ? "there is no such process"
    : code === "EACCES" || code === "EPERM"
    ? "be root, or the user it runs as"
    : message;
  return new ImageError(`Cannot read the memory of process ${pid}: ${why}`, { code }, { cause });
}
