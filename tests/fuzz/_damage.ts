/** Damage to a whole migration: to fields, to packets and their order, to channels, to bytes. */
import type { Random } from "../_random.ts";
import { bigEndian, damaged, damagedAtEnds, type FieldSize, withExtreme } from "./_mutate.ts";
import type { Migration, Packet } from "./_migration.ts";

type Field = readonly [at: number, size: FieldSize];

const GREETING_FIELDS: readonly Field[] = [[0, 4], [4, 4], [8, 8], [24, 1], [25, 1]];

/** Magic, version, flags, pages_alloc, normal_pages, next_packet_size, packet_num, zero_pages. */
const PACKET_FIELDS: readonly Field[] = [
  ...[[0, 4], [4, 4], [8, 4], [8, 4], [12, 4], [16, 4], [16, 4], [20, 4], [20, 4]] as const,
  ...[[24, 8], [32, 4], [32, 4], [64, 1], [66, 1], [319, 1], [320, 8], [320, 8], [328, 8]] as const,
];

const FLAGS_AT = 11;
const COUNTS_AT = [16, 32] as const;
const NAME_AT = 64;
const OFFSETS_AT = 320;

function withField(header: Uint8Array, isGreeting: boolean, random: Random): Uint8Array {
  const [at, size] = random.pick(isGreeting ? GREETING_FIELDS : PACKET_FIELDS);
  if (isGreeting || at !== 8) return withExtreme(header, at, size, random);
  const copy = header.slice();
  if (random.below(2) === 0) copy[FLAGS_AT]! ^= 1 << random.below(8);
  else copy[FLAGS_AT] = random.pick([0, 1, 2, 4, 8, 0x10, 0x20, 0x40, 0x41, 0x3e]);
  return copy;
}

/** One page more or less of one kind, or a page of one kind that becomes the other. */
function withOtherCounts(header: Uint8Array, random: Random): Uint8Array {
  const copy = header.slice();
  const view = new DataView(copy.buffer);
  const [from, to] = random.below(2) === 0 ? COUNTS_AT : [...COUNTS_AT].reverse() as [32, 16];
  if (view.getUint32(from) > 0) view.setUint32(from, view.getUint32(from) - 1);
  if (random.below(2) === 0) view.setUint32(to, view.getUint32(to) + 1);
  return copy;
}

/** The offsets of a packet's pages. */
function offsetsIn(header: Uint8Array): bigint[] {
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const count = view.getUint32(COUNTS_AT[0]) + view.getUint32(COUNTS_AT[1]);
  const room = Math.floor((header.length - OFFSETS_AT) / 8);
  return Array.from(
    { length: Math.min(count, room) },
    (_, i) => view.getBigUint64(OFFSETS_AT + 8 * i),
  );
}

/** A page that is elsewhere: just past the last one that came of any block, mostly. */
function withOtherOffset(header: Uint8Array, { channels, options }: Migration, random: Random) {
  const name = `${header.subarray(NAME_AT, OFFSETS_AT)}`;
  const size = BigInt(options.pageSize as number);
  const packets = channels.flatMap((channel) => channel.filter((_, at) => isPacket(channel, at)))
    .map(({ header }) => header)
    .filter((other) => `${other.subarray(NAME_AT, OFFSETS_AT)}` === name);
  const last = packets.flatMap(offsetsIn).reduce((most, at) => at > most ? at : most, 0n);
  const offsets = offsetsIn(header);
  const copy = header.slice();
  if (offsets.length === 0) return copy;
  const moved = last + random.pick([size, size, 2n * size, 1n, 0n, size / 2n]);
  copy.set(bigEndian(moved, 8), OFFSETS_AT + 8 * random.below(offsets.length));
  return copy;
}

/** Another block, known or not. */
function withOtherName(header: Uint8Array, random: Random): Uint8Array {
  const copy = header.slice();
  const name = random.pick(["pc.ram", "vga.vram", "a", "x".repeat(255), "pc.bios", "", "\u00e9"]);
  copy.fill(0, NAME_AT, OFFSETS_AT).set(new TextEncoder().encode(name), NAME_AT);
  return copy;
}

/** An empty packet, or a SYNC, as a header that is there can be made into. */
function emptyPacket({ header }: Packet, isSync: boolean): Packet {
  const copy = header.slice();
  copy.fill(0, 8);
  copy[FLAGS_AT] = isSync ? 1 : 0;
  copy.set(header.subarray(24, 32), 24);
  return { header: copy, payload: new Uint8Array(0) };
}

type Damage = (migration: Migration, random: Random) => void;

/** A place on a channel; the first is the greeting's. */
function place(migration: Migration, random: Random): [Packet[], number] {
  const channel = random.pick(migration.channels);
  // the start and the end more often: set-up, and what follows the last SYNC
  const at = random.pick([random.below(channel.length), random.below(3), channel.length - 1]);
  return [channel, Math.min(at, channel.length - 1)];
}

/** Whether a packet is there, and not a greeting or what is left of something. */
function isPacket(channel: readonly Packet[], at: number): boolean {
  return at > 0 && channel[at]!.header.length > OFFSETS_AT;
}

function changePacket(
  migration: Migration,
  random: Random,
  change: (packet: Packet) => Packet,
): void {
  const [channel, at] = place(migration, random);
  if (isPacket(channel, at)) channel[at] = change(channel[at]!);
}

const CHANNEL_DAMAGES: readonly Damage[] = [
  function fields(migration, random) {
    const [channel, at] = place(migration, random);
    const { header, payload } = channel[at]!;
    channel[at] = { header: withField(header, at === 0, random), payload };
  },
  function counts(migration, random) {
    changePacket(migration, random, ({ header, payload }) => ({
      header: withOtherCounts(header, random),
      payload,
    }));
  },
  function offsets(migration, random) {
    changePacket(migration, random, ({ header, payload }) => ({
      header: withOtherOffset(header, migration, random),
      payload,
    }));
  },
  function blockName(migration, random) {
    changePacket(migration, random, ({ header, payload }) => ({
      header: withOtherName(header, random),
      payload,
    }));
  },
  function payload(migration, random) {
    changePacket(migration, random, ({ header, payload }) => ({
      header,
      payload: damaged(payload, random),
    }));
  },
  function payloadAndSize(migration, random) {
    changePacket(migration, random, (packet) => {
      const [header, payload] = [packet.header.slice(), damaged(packet.payload, random)];
      new DataView(header.buffer).setUint32(20, payload.length);
      return { header, payload };
    });
  },
  function bytes(migration, random) {
    const [channel, at] = place(migration, random);
    const { header, payload } = channel[at]!;
    channel[at] = { header: damaged(header, random), payload };
  },
  function leaveOut(migration, random) {
    const [channel, at] = place(migration, random);
    // a silent connection is no migration's
    if (channel.length > 1) channel.splice(at, 1);
  },
  function repeat(migration, random) {
    const [channel, at] = place(migration, random);
    channel.splice(random.below(channel.length + 1), 0, channel[at]!);
  },
  function reorder(migration, random) {
    const [channel, at] = place(migration, random);
    const [packet] = channel.splice(at, 1);
    channel.splice(random.below(channel.length + 1), 0, packet!);
  },
  function addEmpty(migration, random) {
    const [channel, at] = place(migration, random);
    if (!isPacket(channel, at)) return;
    // before the set-up's SYNC, or anywhere
    const where = random.below(2) === 0 ? 1 : at;
    channel.splice(where, 0, emptyPacket(channel[at]!, random.below(2) === 0));
  },
  function swapPackets(migration, random) {
    const [left, i] = place(migration, random);
    const [right, j] = place(migration, random);
    [left[i], right[j]] = [right[j]!, left[i]!];
  },
  function swapChannels(migration, random) {
    const { channels } = migration;
    const [i, j] = [random.below(channels.length), random.below(channels.length)];
    [channels[i], channels[j]] = [channels[j]!, channels[i]!];
  },
  function repeatChannel(migration, random) {
    migration.channels.push([...random.pick(migration.channels)]);
  },
  function dropChannel(migration, random) {
    // without a connection nothing would ever end
    if (migration.channels.length < 2) return;
    migration.channels.splice(random.below(migration.channels.length), 1);
    delete migration.options.channels;
  },
  function cut(migration, random) {
    const [channel, at] = place(migration, random);
    channel.splice(at + 1);
    const { header, payload } = channel[at]!;
    const inHeader = random.below(2) === 0;
    channel[at] = inHeader
      ? { header: header.subarray(0, 1 + random.below(header.length)), payload: new Uint8Array(0) }
      : { header, payload: payload.subarray(0, random.below(payload.length + 1)) };
  },
];

const MAIN_DAMAGES: readonly Damage[] = [
  function mainBytes({ main }, random) {
    const at = random.below(main.length);
    const isLong = main[at]!.length > 2000;
    main[at] = isLong ? damagedAtEnds(main[at]!, 1000, random) : damaged(main[at]!, random);
  },
  function mainNumber({ main }, random) {
    const at = random.below(main.length);
    const size = random.pick([1, 2, 4, 8] as const);
    const where = random.below(Math.min(700, main[at]!.length));
    main[at] = withExtreme(main[at]!, where, size, random);
  },
  function mainLeaveOut({ main }, random) {
    if (main.length > 1) main.splice(random.below(main.length), 1);
  },
  function mainRepeat({ main }, random) {
    main.splice(random.below(main.length + 1), 0, random.pick(main));
  },
  function mainReorder({ main }, random) {
    const [piece] = main.splice(random.below(main.length), 1);
    main.splice(random.below(main.length + 1), 0, piece!);
  },
  function mainCut({ main }, random) {
    const at = random.below(main.length);
    const piece = main[at]!;
    main.splice(at, main.length, piece.subarray(0, 1 + random.below(piece.length)));
  },
];

const OPTION_DAMAGES: readonly Damage[] = [
  function otherMethod({ options }, random) {
    options.method = random.pick(["none", "zlib", "zstd", "qpl", "uadk", "qatzip"]);
  },
  function fewerChannels({ options, channels }, random) {
    options.channels = 1 + random.below(channels.length);
  },
  function smallRam({ options }, random) {
    options.maxRam = random.pick([4096, 65536]);
  },
  function missingAsZero({ options }) {
    options.missingAsZero = true;
  },
];

/** Damages a migration in one place or a few. */
export function damageMigration(migration: Migration, random: Random): void {
  for (let i = random.pick([1, 1, 1, 2, 3]); i > 0; i--) {
    const kind = random.below(8);
    const damages = kind < 5 ? CHANNEL_DAMAGES : kind < 7 ? MAIN_DAMAGES : OPTION_DAMAGES;
    random.pick(damages)(migration, random);
  }
}
