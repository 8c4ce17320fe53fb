/** Pages that are really sampled, and codecs that are really run on them. */
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { candidatesOf } from "../../src/advise/candidates.ts";
import type { Profile } from "../../src/advise/codecs.ts";
import { measureProfile } from "../../src/advise/measure.ts";
import { TYPICAL } from "../../src/advise/pipe.ts";
import { rankPlans } from "../../src/advise/recommend.ts";
import { takeSample } from "../../src/advise/sample.ts";
import { softwareEngine } from "../../src/engines/select.ts";
import { methodByName, methodNames } from "../../src/methods/registry.ts";
import { MemoryImage } from "../../src/ram/memory_image.ts";
import { Random } from "../_random.ts";
import { GIB } from "./_coefficients.ts";

const PAGE = 4096;
const PAGES = 256;

/** An image of a share of zero pages, and of text or noise. */
function makeImage(zeroPercent: number, fill: (page: Uint8Array, random: Random) => void) {
  const random = new Random(11);
  const bytes = new Uint8Array(PAGES * PAGE);
  let zeroPages = 0;
  for (let i = 0; i < PAGES; i++) {
    if (i % 100 < zeroPercent) zeroPages++;
    else fill(bytes.subarray(i * PAGE, (i + 1) * PAGE), random);
  }
  return { image: new MemoryImage({ "pc.ram": bytes }), zeroPages };
}

const WORDS = "migration guest page channel packet sync round block zero dirty".split(" ");

function writeText(page: Uint8Array, random: Random): void {
  let text = "";
  while (text.length < PAGE) text += `${random.pick(WORDS)} ${random.below(1000)} `;
  page.set(new TextEncoder().encode(text.slice(0, PAGE)));
}

function writeNoise(page: Uint8Array, random: Random): void {
  page.set(random.bytes(PAGE));
}

/** Measured once: it takes seconds. */
let text: Promise<Profile> | undefined;
const textProfile = (): Promise<Profile> => text ??= profileOf(makeImage(25, writeText).image);

function profileOf(image: MemoryImage): Promise<Profile> {
  return measureProfile(takeSample(image, PAGE, 1e9, 1), { levels: [1] });
}

/** The method that is advised for 16 GiB of such pages between hosts of 4 cores. */
function advised(profile: Profile, gigabits: number): string {
  const [best] = rankPlans(candidatesOf(profile, "multifd"), {
    guest: { bytes: 16 * GIB, pageSize: PAGE, zero: profile.shares.zero },
    pipe: TYPICAL,
    hosts: { sourceCores: 4, destinationCores: 4 },
    link: { bitsPerSecond: gigabits * 1e9 },
  });
  return best!.candidate.method;
}

test("measureProfile() measures text: every method, with the engine that send would take", async () => {
  const { zeroPages } = makeImage(25, writeText);
  const profile = await textProfile();
  assertEquals(profile.shares, { zero: zeroPages / PAGES, incompressible: 0, duplicate: 0 });
  assertEquals(profile.sampledPages, PAGES);
  for (const name of methodNames()) {
    const engine = softwareEngine(methodByName(name)!, "encodes")?.name ?? "none";
    const found = profile.codecs.find((codec) => codec.method === name && codec.engine === engine);
    assert(found?.encode !== undefined, `${name} on ${engine} was not measured`);
    const { median, min, max } = found.encode.rate;
    assert(min > 0 && min <= median && median <= max);
    assert(name === "none" ? found.left === 1 : found.left > 0.1 && found.left < 0.6);
  }
});

test("measureProfile() has no codec twice that does the same", async () => {
  const { codecs } = await textProfile();
  const sameLibrary = codecs.filter(({ method, engine }) =>
    method === "qpl" && engine === "builtin"
  );
  assertEquals(sameLibrary.length, 1);
});

test("measureProfile() measures noise, and advice does not compress it on any link", async () => {
  const { image } = makeImage(25, writeNoise);
  const profile = await profileOf(image);
  assertEquals(profile.shares.incompressible, 1 - profile.shares.zero);
  for (const { left, method } of profile.codecs) assert(left > 0.99, `${method} leaves ${left}`);
  for (const gigabits of [1, 10, 100]) assertEquals(advised(profile, gigabits), "none");
});

test("advice compresses text on a slow link, as it is measured here", async () => {
  const profile = await textProfile();
  assert(advised(profile, 0.2) !== "none");
});

test("measureProfile() has no codecs to tell of an image of zeros", async () => {
  const { codecs, shares } = await profileOf(makeImage(100, writeText).image);
  assertEquals(codecs, []);
  assertEquals(shares, { zero: 1, incompressible: 0, duplicate: 0 });
});
