/** The figures that a migration tells while it runs. */
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { MemoryImage, type Metrics, type MigrationEvent, type Progress } from "../../mod.ts";
import { Random } from "../_random.ts";
import { testOf } from "../engines/_native.ts";
import { migrate, TRANSPORTS } from "./_migrate.ts";

/** Packets of a migration that is slow enough to tell how it goes, and their bytes of noise. */
const PACKETS = 5;
const NOISE = 40_000;
const BANDWIDTH = 131_072;

/** Pages that shrink to about NOISE bytes a packet. */
function image(): MemoryImage {
  const random = new Random(1);
  const memory = new SharedArrayBuffer(PACKETS * 128 * 4096);
  const each = Math.floor(NOISE / 128);
  for (let page = 0; page < PACKETS * 128; page++) {
    new Uint8Array(memory, page * 4096, each).set(random.bytes(each));
  }
  return new MemoryImage({ "pc.ram": memory });
}

/** Keeps the progress that is told, each with what it said at the time. */
function progressKeeper(): {
  told: { progress: Progress; text: string }[];
  onEvent: (event: MigrationEvent) => void;
} {
  const told: { progress: Progress; text: string }[] = [];
  return {
    told,
    onEvent(event) {
      if (event.type === "progress") told.push({ progress: event, text: JSON.stringify(event) });
    },
  };
}

for (const transport of TRANSPORTS) {
  test(`send() and receive() tell their figures on ${transport} sockets while they run`, async () => {
    const [sending, receiving] = [progressKeeper(), progressKeeper()];
    const { sent, received } = await migrate(
      image(),
      { transport, channels: 2, method: "zlib", maxBandwidth: BANDWIDTH, ...sending },
      { transport, ...receiving },
    );
    for (const [info, { told }] of [[sent, sending], [received, receiving]] as const) {
      assert(told.length > 0);
      for (const { progress, text } of told) {
        // nothing that was told changes afterwards
        assertEquals(JSON.stringify(progress), text);
        assertEquals([progress.transport, progress.perChannel.length], [transport, 2]);
        assertEquals(progress.pages, progress.ram.normal + progress.ram.duplicate);
        assert(progress.transferred <= info.ram.transferred);
      }
      const { progress } = told.at(-1)!;
      assertEquals([progress.method, progress.engine], ["zlib", "builtin"]);
      assertEquals(info.ram.ratio, PACKETS * 128 * 4096 / info.ram.transferred);
      for (const { codecTime, waitTime } of info.perChannel) {
        assert(codecTime > 0 && waitTime > 0);
      }
    }
  });
}

/** Pages that a device, or software in its place, is known to have computed. */
function computed({ engineCounts: counts }: Metrics): number {
  return counts === undefined ? 0 : counts.devicePages + counts.softwarePages + counts.rawPages;
}

testOf(
  ["iaa-simulated"],
  "send() and receive() tell what a device does while it does it",
  async () => {
    const [sending, receiving] = [progressKeeper(), progressKeeper()];
    const both = { transport: "native", engine: "iaa-simulated", timeout: 20_000 } as const;
    const { sent, received } = await migrate(
      image(),
      { ...both, channels: 1, method: "qpl", maxBandwidth: BANDWIDTH, ...sending },
      { ...both, ...receiving },
    );
    for (const [info, { told }] of [[sent, sending], [received, receiving]] as const) {
      assertEquals(computed(info), PACKETS * 128);
      const under = told.map(({ progress }) => computed(progress));
      assert(under.some((pages) => pages > 0 && pages < PACKETS * 128), under.join(" "));
    }
  },
);
