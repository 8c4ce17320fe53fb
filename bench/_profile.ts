/** What `multifd advise` measures of an image. */
import type { Profile } from "../src/advise/codecs.ts";
import { measureProfile } from "../src/advise/measure.ts";
import { takeSample } from "../src/advise/sample.ts";
import { openSampled } from "../src/advise/sources.ts";

const PAGE = 4096;
const SAMPLE_SIZE = 64 << 20;
const SEED = 1;

/** The codecs of some methods, all if undefined, at level 1 on a sample of an image. */
export async function profileOf(image: string, methods?: readonly string[]): Promise<Profile> {
  const { pages, close } = await openSampled(image);
  try {
    return await measureProfile(takeSample(pages, PAGE, SAMPLE_SIZE, SEED), {
      methods,
      levels: [1],
    });
  } finally {
    close();
  }
}
