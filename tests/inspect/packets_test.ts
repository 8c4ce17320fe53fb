import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  CancelledError,
  ImageError,
  inspect,
  OptionError,
  packetsOf,
  type RecordedItem,
  surveyRecording,
} from "../../mod.ts";
import { FLAG_SYNC } from "../../src/core.ts";
import { viewOf } from "../../src/protocol/bytes.ts";
import { allOf, HEADER, NAMES, packetsAmong, recording } from "./_recordings.ts";

const GREETING = 64;

/** Everything of a recording, with copies of what is valid for a moment only. */
async function everything(directory: string): Promise<RecordedItem[]> {
  const items: RecordedItem[] = [];
  for (const channel of [undefined, "main"] as const) {
    for await (const item of packetsOf(directory, { channel })) {
      items.push(item.type === "damage" ? item : { ...item, data: item.data?.slice() });
    }
  }
  return items;
}

/** The RAM that items give when each round is laid over the one before. */
function ramOf(items: readonly RecordedItem[]): Map<string, Map<number, Uint8Array | undefined>> {
  const ram = new Map<string, Map<number, Uint8Array | undefined>>();
  const put = (block: string, page: number, data: Uint8Array | undefined): void => {
    if (!ram.has(block)) ram.set(block, new Map());
    ram.get(block)!.set(page, data);
  };
  const ofRound = (item: RecordedItem): number => item.type === "damage" ? 0 : item.round;
  for (const item of [...items].sort((a, b) => ofRound(a) - ofRound(b))) {
    if (item.type === "record" && item.block !== undefined) put(item.block, item.page!, item.data);
    if (item.type !== "packet") continue;
    for (const [i, page] of item.pages.entries()) {
      const isNormal = i < item.normalPages;
      put(item.block!, page, isNormal ? item.data!.subarray(i * 4096, (i + 1) * 4096) : undefined);
    }
  }
  return ram;
}

for (const name of NAMES) {
  test(`packetsOf() gives all of the recording ${name}, which makes its RAM`, async () => {
    const directory = recording(name);
    const items = await everything(directory);
    assertEquals(items.filter(({ type }) => type === "damage"), []);
    const ram = ramOf(items);
    const { blocks } = JSON.parse(fs.readFileSync(path.join(directory, "expected.json"), "utf8"));
    for (
      const [block, { used_length: usedLength, sha256 }] of Object.entries<{
        used_length: number;
        sha256: string | null;
      }>(blocks)
    ) {
      const bytes = new Uint8Array(usedLength);
      assertEquals(ram.get(block)!.size, usedLength / 4096);
      for (const [page, data] of ram.get(block)!) if (data !== undefined) bytes.set(data, page);
      // where the recording machine could not tell the hash, the file has none
      if (sha256 !== null) assertEquals(createHash("sha256").update(bytes).digest("hex"), sha256);
    }
  });

  test(`packetsOf() tells where each packet of ${name} is`, async () => {
    const directory = recording(name);
    const { channels } = JSON.parse(
      fs.readFileSync(path.join(directory, "expected.json"), "utf8"),
    );
    for (let channel = 0; channel < channels; channel++) {
      const packets = packetsAmong(await allOf(packetsOf(directory, { channel })));
      const files = fs.readdirSync(directory).filter((file) => file.startsWith("ch"))
        .map((file) => fs.readFileSync(path.join(directory, file)));
      const file = files.find((bytes) => bytes[24] === channel)!;
      let at = GREETING;
      for (const [i, packet] of packets.entries()) {
        const view = viewOf(file.subarray(packet.offset));
        assertEquals([packet.channel, packet.packet, packet.offset], [channel, i, at]);
        assertEquals(view.getUint32(8), packet.flags);
        assertEquals(view.getUint32(28), packet.packetNum);
        assertEquals(packet.pages.length, packet.normalPages + packet.zeroPages);
        at += HEADER + packet.payloadBytes;
      }
      assertEquals(at, file.length);
    }
  });

  test(`surveyRecording() counts what inspect() counts in ${name}`, async () => {
    const survey = await surveyRecording(recording(name));
    const report = await inspect(recording(name));
    assert(report.kind === "recording");
    assertEquals([survey.machine, survey.damages, survey.damageCount], [report.machine, [], 0]);
    assertEquals(survey.rounds, report.rounds);
    assertEquals(survey.wholeRounds, report.ram.dirtySyncCount);
    assertEquals(
      survey.blocks.map(({ name, arrived, missing }) => [name, arrived, missing]),
      report.blocks.map(({ name, usedLength }) => [name, usedLength / 4096, []]),
    );
    const counts = (
      { id, syncs, normalPages, zeroPages }: {
        id: number;
        syncs: number;
        normalPages: number;
        zeroPages: number;
      },
    ): number[] => [id, syncs, normalPages, zeroPages];
    assertEquals(survey.channels.map(counts), report.perChannel.map(counts));
    for (const { bytes, fileBytes } of survey.channels) assertEquals(bytes, fileBytes);
  });
}

test("packetsOf() tells the compressed length of each page of qpl", async () => {
  let pages = 0;
  for await (const item of packetsOf(recording("qpl"))) {
    if (item.type !== "packet" || item.normalPages === 0) continue;
    assertEquals(item.lengths!.length, item.normalPages);
    const sum = item.lengths!.reduce((sum, length) => sum + length, 0);
    assertEquals(4 * item.normalPages + sum, item.payloadBytes);
    pages += item.normalPages;
  }
  assert(pages > 0);
});

test("packetsOf() filters by channel, block and page", async () => {
  const directory = recording("qpl-running");
  const all = packetsAmong(await allOf(packetsOf(directory)));
  const expect = async (filter: Parameters<typeof packetsOf>[1], of: typeof all): Promise<void> => {
    const found = packetsAmong(await allOf(packetsOf(directory, filter)));
    assert(found.length > 0 && found.length < all.length);
    assertEquals(
      found.map(({ channel, packet }) => [channel, packet]),
      of.map(({ channel, packet }) => [channel, packet]),
    );
  };
  await expect({ channel: 1 }, all.filter(({ channel }) => channel === 1));
  await expect({ block: "pc.bios" }, all.filter(({ block }) => block === "pc.bios"));
  const { block, pages } = all.findLast((packet) => packet.block === "pc.ram")!;
  const page = { block: block!, offset: pages[0]! + 77 };
  const carrying = all.filter((packet) =>
    packet.block === block && packet.pages.includes(pages[0]!)
  );
  await expect({ page }, carrying);
  await expect({ page, channel: 0 }, carrying.filter(({ channel }) => channel === 0));
});

test("packetsOf() gives the main channel's records where they are asked for", async () => {
  const directory = recording("zstd-legacy-zero-pages");
  const isRecord = ({ type }: RecordedItem): boolean => type === "record";
  assertEquals((await allOf(packetsOf(directory))).filter(isRecord), []);
  const records = await allOf(packetsOf(directory, { channel: "main" }));
  assert(records.every(isRecord));
  const main = fs.readFileSync(path.join(directory, "main.bin"));
  const ZERO = 0x02;
  const FLUSH = 0x200;
  for (const record of records) {
    assert(record.type === "record");
    const word = viewOf(main.subarray(record.offset)).getUint32(4);
    const isMarker = record.kind === "sync";
    assertEquals(word & (isMarker ? FLUSH : ZERO), isMarker ? FLUSH : ZERO);
    if (!isMarker) assertEquals(word & ~0xfff, record.page! & ~0xfff);
  }
  const [zero] = records.filter((record) => record.type === "record" && record.kind === "zero");
  assert(zero?.type === "record");
  const page = { block: zero.block!, offset: zero.page! };
  assertEquals((await allOf(packetsOf(directory, { page }))).filter(isRecord), [zero]);
});

test("packetsOf() counts a SYNC that carries pages into the round it ends (QEMU 7.2)", async () => {
  const packets = packetsAmong(await allOf(packetsOf(recording("qemu-7.2-zlib"))));
  const carrying = packets.filter(({ flags, block }) => (flags & FLAG_SYNC) && block !== undefined);
  assert(carrying.length > 0);
  for (const { channel, packet, round } of carrying) {
    const before = packets.filter((other) =>
      other.channel === channel && other.packet < packet && (other.flags & FLAG_SYNC) !== 0
    );
    assertEquals(round, before.length + 1);
  }
});

const REFUSED: [Parameters<typeof packetsOf>[1], string][] = [
  [{ channel: 7 }, "Channel 7 is not recorded; there are: 0, 1"],
  [{ block: "pc.rma" }, "Block pc.rma is unknown; there are: pc.ram,"],
  [{ page: { block: "vga", offset: 0 } }, "Block vga is unknown; there are: pc.ram,"],
  [{ page: { block: "pc.ram", offset: 0x800000 } }, "Offset 0x800000 is past the end of block"],
];

for (const [filter, message] of REFUSED) {
  test(`packetsOf() refuses ${JSON.stringify(filter)}`, async () => {
    await assertRejects(() => allOf(packetsOf(recording("qpl"), filter)), OptionError, message);
  });
}

test("packetsOf() says what is no recording", async () => {
  await assertRejects(() => allOf(packetsOf("tests")), ImageError, "it has no main.bin");
});

test("packetsOf() stops where it is told to", async () => {
  const controller = new AbortController();
  let packets = 0;
  await assertRejects(
    async () => {
      for await (const _ of packetsOf(recording("zstd"), { signal: controller.signal })) {
        if (++packets === 3) controller.abort();
      }
    },
    CancelledError,
  );
  assertEquals(packets, 3);
});
