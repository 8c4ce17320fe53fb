import { test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { candidatesOf } from "../../src/advise/candidates.ts";
import { parseDevice } from "../../src/advise/devices.ts";
import { noneFrom, type Plan, type Question, rankPlans } from "../../src/advise/recommend.ts";
import { sentenceOf } from "../../src/advise/sentence.ts";
import { candidates, codec, GIB, profile, question } from "./_coefficients.ts";

const ORDINARY = profile();

function best(
  asked: Omit<Partial<Question>, "guest"> & { gigabits?: number; cores?: number },
  guest = ORDINARY,
) {
  return rankPlans(candidates(guest), question({ guest, ...asked }))[0]!;
}

const methodOf = ({ candidate: { method, level } }: Plan): string =>
  `${method} ${level ?? ""}`.trim();

test("rankPlans() compresses more on a slow link, less on a faster one, not at all on a fast one", () => {
  const picked = [1, 10, 100].map((gigabits) => methodOf(best({ gigabits, cores: 8 })));
  assertEquals(picked, ["zstd 3", "zstd 1", "none"]);
});

test("rankPlans() compresses on sixteen cores what two cores had better not", () => {
  assertEquals(methodOf(best({ gigabits: 25, cores: 2 })), "none");
  assertEquals(methodOf(best({ gigabits: 25, cores: 16 })), "zstd 1");
});

test("rankPlans() does not compress random memory", () => {
  const random = profile({ zero: 0, incompressible: 1 }, 3);
  for (const gigabits of [1, 10, 100]) assertEquals(methodOf(best({ gigabits }, random)), "none");
});

test("rankPlans() does not compress a zero-rich guest on a link that its few pages fit", () => {
  const zeroRich = profile({ zero: 0.97 });
  assertEquals(methodOf(best({ gigabits: 10 })), "zstd 1");
  const plan = best({ gigabits: 10 }, zeroRich);
  assertEquals(methodOf(plan), "none");
  assert(plan.prediction.totalTime! < 0.2 * best({ gigabits: 10 }).prediction.totalTime!);
});

test("rankPlans() takes a device where there is one", () => {
  const guest = ORDINARY;
  const asked = question({ guest, gigabits: 25, cores: 4 });
  assertEquals(methodOf(rankPlans(candidates(guest), asked)[0]!), "none");
  const [withDevice] = rankPlans(candidates(guest, [parseDevice("iaa=1")]), asked);
  assertEquals(withDevice!.candidate.engine, "iaa");
});

test("candidatesOf() takes a device that was measured as it is, with as many as are told", () => {
  const measured = { ...codec("qpl", "iaa", 0.5, 3000, 5000), kind: "device" as const };
  const guest = { ...ORDINARY, codecs: [...ORDINARY.codecs, measured] };
  const onIaa = (devices: string[]) =>
    candidates(guest, devices.map(parseDevice)).filter(({ engine }) => engine === "iaa");
  const [alone] = onIaa([]);
  assertEquals([alone!.origin, alone!.costs.encode.thread], ["measured", 1 / 3000e6]);
  const pair = onIaa(["iaa=2"]);
  assertEquals(pair.length, 1);
  assertEquals(pair[0]!.costs.deviceRate, 2 * alone!.costs.deviceRate!);
  const inQemu = candidatesOf(guest, "qemu").filter(({ engine }) => engine === "iaa");
  assertEquals(inQemu.length, 1);
});

test("rankPlans() takes the fewest channels that are as good as more", () => {
  assertEquals(best({ gigabits: 0.2 }).channels, 1);
  assertEquals(best({ gigabits: 100, cores: 8 }).channels <= 8, true);
  assertEquals(best({ gigabits: 1, channels: 5 }).channels, 5);
});

test("rankPlans() puts what ends before what does not, and then the fastest", () => {
  const load = { bytesPerSecond: 1.3e9, workingSet: 8 * GIB, downtimeLimit: 0.3 };
  const plans = rankPlans(candidates(ORDINARY), question({ guest: ORDINARY, cores: 16, load }));
  const ends = plans.map(({ prediction }) => prediction.converges);
  assertEquals(ends, ends.toSorted((a, b) => Number(b) - Number(a)));
  assert(ends.includes(true) && ends.includes(false));
  assert(plans.some((plan) => methodOf(plan) === "none" && !plan.prediction.converges));
});

test("rankPlans() never proposes uadk, which a QEMU without its device cannot read", () => {
  assert(!candidates(ORDINARY).some(({ method }) => method === "uadk"));
});

test("candidatesOf() takes QEMU's own zlib for what it is", () => {
  const zlib = candidatesOf(ORDINARY, "qemu").find(({ method }) => method === "zlib")!;
  const ours = candidates(ORDINARY).find(({ method }) => method === "zlib")!;
  assertEquals([zlib.engine, zlib.origin], ["QEMU", "published"]);
  assert(zlib.costs.encode.cpu > 5 * ours.costs.encode.cpu);
});

test("noneFrom() is the link from which compressing does not pay", () => {
  const asked = question({ guest: ORDINARY, cores: 4 });
  const from = noneFrom(candidates(ORDINARY), asked)!;
  const at = (bitsPerSecond: number): string =>
    methodOf(rankPlans(candidates(ORDINARY), { ...asked, link: { bitsPerSecond } })[0]!);
  assertEquals(at(from), "none");
  assert(at(0.7 * from) !== "none");
});

test("sentenceOf() tells what to do, how long it takes and why", () => {
  const sentence = (gigabits: number): string => {
    const asked = question({ guest: ORDINARY, gigabits });
    const all = candidates(ORDINARY);
    return sentenceOf(rankPlans(all, asked), asked, noneFrom(all, asked));
  };
  assertMatch(
    sentence(1),
    /^Use zstd 3 with 2 channels: .* over 1 Gbit\/s, held up by the link; uncompressed it is .*\.$/,
  );
  assertMatch(
    sentence(100),
    /^Use no compression with \d channels: .* over 100 Gbit\/s, .*; the best compression, .*\.$/,
  );
});

test("sentenceOf() says so where no method keeps up with the guest", () => {
  const load = { bytesPerSecond: 50e9, workingSet: 8 * GIB, downtimeLimit: 0.3 };
  const asked = question({ guest: ORDINARY, load });
  const plans = rankPlans(candidates(ORDINARY), asked);
  assertMatch(sentenceOf(plans, asked, undefined), /^No method keeps up with this guest/);
});
