import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { cString, nativeIo } from "../../ffi/io.ts";
import { FileHoles } from "../../src/ram/file_holes.ts";
import { temporaryDirectory } from "../migration/_migrate.ts";

const SIZE = 2 ** 24;
const RUN = 2 ** 19;

/** A file with data at some places; tells which of its runs lie in holes. */
function coveredRuns(places: number[]): { covered: number[]; isSparse: boolean } {
  const directory = temporaryDirectory();
  const file = path.join(directory, "ram");
  const written = fs.openSync(file, "w");
  fs.ftruncateSync(written, SIZE);
  for (const at of places) fs.writeSync(written, new Uint8Array(4096).fill(1), 0, 4096, at);
  fs.closeSync(written);
  const fd = nativeIo().file_open(cString(file), 0);
  const holes = new FileHoles(fd);
  const runs = Array.from({ length: SIZE / RUN }, (_, i) => i);
  const covered = runs.filter((i) => holes.covers(i * RUN, RUN));
  nativeIo().io_close(fd);
  const isSparse = fs.statSync(file).blocks * 512 < SIZE;
  fs.rmSync(directory, { recursive: true });
  return { covered, isSparse };
}

for (
  const places of [[], [0], [SIZE - 4096], [5 * RUN - 4096, 5 * RUN], [7 * RUN + 8192, 9 * RUN]]
) {
  test(`FileHoles covers runs without data, which is at ${places.join(" and ") || "no place"}`, () => {
    const { covered, isSparse } = coveredRuns(places);
    const withData = places.map((at) => Math.floor(at / RUN));
    assertEquals(covered.filter((run) => withData.includes(run)), []);
    if (isSparse) assertEquals(covered.length, SIZE / RUN - new Set(withData).size);
  });
}

test("FileHoles covers nothing of a file that is full", () => {
  const places = Array.from({ length: SIZE / 4096 }, (_, i) => i * 4096);
  assertEquals(coveredRuns(places).covered, []);
});

test("FileHoles finds a hole behind long data late, and then all that is left of it", () => {
  const runs = 8;
  const places = Array.from({ length: runs * RUN / 4096 }, (_, i) => i * 4096);
  const { covered, isSparse } = coveredRuns(places);
  if (!isSparse) return;
  const [first] = covered;
  assert(first! >= runs && first! <= 2 * runs, `first at ${first}`);
  assertEquals(covered.length, SIZE / RUN - first!);
});

test("FileHoles covers nothing where nobody can tell", () => {
  const holes = new FileHoles(-1);
  assert(!holes.covers(0, RUN));
  assert(!holes.covers(RUN, RUN));
});
