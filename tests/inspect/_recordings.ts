/** Recordings of real migrations, and copies of them to damage. */
import fs from "node:fs";
import path from "node:path";
import type { RecordedItem, RecordedPacket } from "../../mod.ts";
import { temporaryDirectory } from "../migration/_migrate.ts";
import { root } from "../_tools.ts";

const testdata = path.join(root, "tests", "testdata", "recordings");

/** Bytes of a packet's header, and where its offsets begin. */
export const [HEADER, OFFSETS_AT] = [1344, 320] as const;

/** Names of the recordings: every method that a QEMU could record, 7.2 and 10.0. */
export const NAMES: readonly string[] = fs.readdirSync(testdata);

/** A recording's directory. */
export function recording(name: string): string {
  return path.join(testdata, name);
}

/** Runs with a copy of a recording. */
export async function withCopy(
  name: string,
  run: (directory: string) => Promise<void>,
): Promise<void> {
  const parent = temporaryDirectory();
  const directory = path.join(parent, "recording");
  fs.cpSync(recording(name), directory, { recursive: true });
  try {
    await run(directory);
  } finally {
    fs.rmSync(parent, { recursive: true });
  }
}

/** Changes a file's bytes. */
export function change(file: string, how: (bytes: Uint8Array) => Uint8Array | void): void {
  const bytes = new Uint8Array(fs.readFileSync(file));
  fs.writeFileSync(file, how(bytes) ?? bytes);
}

/** All of what a generator gives. */
export async function allOf<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** The packets among some items. */
export function packetsAmong(items: readonly RecordedItem[]): RecordedPacket[] {
  return items.filter((item) => item.type === "packet");
}

/** What of an item can be compared: not what is valid for a moment only. */
export function shape(item: RecordedItem): unknown {
  return item.type === "damage" ? item.error.message : { ...item, data: item.data?.length };
}
