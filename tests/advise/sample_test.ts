import { test } from "node:test";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { planRuns, takeSample } from "../../src/advise/sample.ts";
import { spreadOf } from "../../src/advise/statistics.ts";
import { ImageError } from "../../src/errors.ts";
import { PACKET_SIZE } from "../../src/protocol/ram_packet.ts";
import { MemoryImage } from "../../src/ram/memory_image.ts";
import { Random } from "../_random.ts";
import { assertNear } from "./_coefficients.ts";

const PAGE = 4096;
const PACKET_PAGES = PACKET_SIZE / PAGE;

test("planRuns() takes one run of each equal part, over all blocks", () => {
  const blocks = [
    { name: "a", usedLength: 60 * PACKET_SIZE },
    { name: "b", usedLength: 40 * PACKET_SIZE },
  ];
  const runs = planRuns(blocks, PAGE, 10 * PACKET_SIZE, 7);
  const places = runs.map(({ block, offset }) => (block === 0 ? 0 : 60) + offset / PACKET_SIZE);
  assertEquals(places.map((place) => Math.floor(place / 10)), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test("planRuns() chooses the same for a seed, and else for another", () => {
  const blocks = [{ name: "a", usedLength: 1000 * PACKET_SIZE }];
  const plan = (seed: number) => planRuns(blocks, PAGE, 50 * PACKET_SIZE, seed);
  assertEquals(plan(1), plan(1));
  assert(plan(1).some(({ offset }, i) => offset !== plan(2)[i]!.offset));
});

test("planRuns() takes everything once where the sample is large enough", () => {
  const blocks = [{ name: "a", usedLength: 3 * PACKET_SIZE + 2 * PAGE }, {
    name: "b",
    usedLength: PAGE,
  }];
  const runs = planRuns(blocks, PAGE, 1e12, 1);
  assertEquals(runs.map(({ block, length }) => [block, length]), [
    [0, PACKET_SIZE],
    [0, PACKET_SIZE],
    [0, PACKET_SIZE],
    [0, 2 * PAGE],
    [1, PAGE],
  ]);
});

/** Pages by kind: z is zero, s the same over and over, r random. */
function pagesOf(kinds: string): MemoryImage {
  const random = new Random(3);
  const bytes = new Uint8Array(kinds.length * PAGE);
  [...kinds].forEach((kind, i) => {
    const page = bytes.subarray(i * PAGE, (i + 1) * PAGE);
    if (kind === "s") page.fill(1);
    if (kind === "r") page.set(random.bytes(PAGE));
  });
  return new MemoryImage({ "pc.ram": bytes });
}

test("takeSample() counts pages by kind, and packs those with data as they would be sent", () => {
  const image = pagesOf("zrszzsrsz");
  const { pages, zeroPages, duplicatePages, packets, totalBytes } = takeSample(image, PAGE, 1e9, 1);
  assertEquals([pages, zeroPages, duplicatePages, totalBytes], [9, 4, 2, 9 * PAGE]);
  const all = image.memory.get("pc.ram")!;
  const page = (i: number): number[] => [...all.subarray(i * PAGE, (i + 1) * PAGE)];
  assertEquals(packets.map((packet) => [...packet]), [[1, 2, 5, 6, 7].flatMap(page)]);
});

test("takeSample() estimates the share of zero pages of an image that it reads in part", () => {
  const random = new Random(5);
  // regions of zeros and of data, as guests have them
  let kinds = "";
  while (kinds.length < 200 * PACKET_PAGES) {
    kinds += (random.below(100) < 40 ? "z" : "r").repeat(1 + random.below(300));
  }
  const truth = [...kinds].filter((kind) => kind === "z").length / kinds.length;
  const sample = takeSample(pagesOf(kinds), PAGE, 40 * PACKET_SIZE, 1);
  assertEquals(sample.pages, 40 * PACKET_PAGES);
  assertNear(sample.zeroPages / sample.pages, truth, 0.15);
});

test("takeSample() refuses what has not one page", () => {
  const tiny = new MemoryImage({ "pc.ram": new Uint8Array(100) });
  assertThrows(() => takeSample(tiny, PAGE, 1e9, 1), ImageError, "not one page");
});

test("spreadOf() gives the middle, the least and the most", () => {
  assertEquals(spreadOf([5, 1, 9, 3, 7]), { median: 5, min: 1, max: 9 });
  assertEquals(spreadOf([4, 2]), { median: 2, min: 2, max: 4 });
  assertThrows(() => spreadOf([]), RangeError);
});
