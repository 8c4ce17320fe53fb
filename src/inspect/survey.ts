/** `surveyRecording()`: what of a recording can be read, however damaged it is. */
import { FLAG_SYNC, type RamBlock } from "../protocol/ram_packet.ts";
import { MAX_ROUNDS, type RoundPages } from "../ram/manifest.ts";
import { PageSet } from "../ram/page_set.ts";
import type { Damage, RecordedItem, RecordedPacket } from "./items.ts";
import { type RecordingOptions, RecordingReader } from "./recording_reader.ts";

/** Most damages that are told one by one. */
const MAX_DAMAGES = 1000;
/** Most stretches of missing pages that are told of a block. */
const MAX_STRETCHES = 100;

/** What could be read of a channel. */
export interface ChannelSurvey {
  /** Channel number. */
  id: number;
  /** Packets, SYNC packets included. */
  packets: number;
  /** SYNC packets. */
  syncs: number;
  /** Pages with data, decompressed. */
  normalPages: number;
  /** Zero pages. */
  zeroPages: number;
  /** Bytes up to which it could be read. */
  bytes: number;
  /** Bytes that there are. */
  fileBytes: number;
  /** Rounds that ended before anything is wrong. */
  wholeRounds: number;
}

/** A stretch of a block. */
export interface Stretch {
  /** Where it begins, in bytes. */
  offset: number;
  /** How long it is, in bytes. */
  length: number;
}

/** What could be read of a block. */
export interface BlockSurvey extends RamBlock {
  /** Pages that it has. */
  pages: number;
  /** Pages that arrived at least once, and could be decompressed. */
  arrived: number;
  /** Where the others are, the first hundred stretches of them. */
  missing: Stretch[];
}

/** What could be read of a recording. */
export interface RecordingSurvey {
  /** Machine type; undefined if the main channel is damaged before it. */
  machine: string | undefined;
  /** Page size in bytes. */
  pageSize: number;
  /** Bytes up to which the main channel could be read. */
  mainBytes: number;
  /** The channels. */
  channels: ChannelSurvey[];
  /** The pages of each round, the set-up's empty one first. */
  rounds: RoundPages[];
  /** Rounds that ended on all channels before anything is wrong with one of them. */
  wholeRounds: number;
  /** The blocks; none if the main channel is damaged before it announces them. */
  blocks: BlockSurvey[];
  /** What is wrong, the first thousand. */
  damages: Damage[];
  /** How many things are wrong. */
  damageCount: number;
}

/**
 * Reads a recording as far as it goes: each channel on its own, past damage where a packet
 * begins behind it. Where {@linkcode inspect} ends with the first error, this tells all of them,
 * and what is there nevertheless.
 *
 * @param recording The directory with `main.bin`, `ch0.bin`…
 * @param options How it is read.
 * @returns What could be read, and what is wrong.
 * @throws {ImageError} If a file cannot be read.
 * @throws {EngineUnavailableError} If the engine is unknown or cannot be used here.
 * @throws {CancelledError} If `signal` is aborted.
 *
 * @example
 * ```ts no-eval
 * import { surveyRecording } from "@multifd/multifd";
 *
 * const { blocks, damages } = await surveyRecording("recording");
 * for (const { error } of damages) console.log(error.facts.channel, error.facts.packet);
 * for (const { name, pages, arrived } of blocks) console.log(name, pages - arrived);
 * ```
 */
export async function surveyRecording(
  recording: string,
  options: RecordingOptions = {},
): Promise<RecordingSurvey> {
  const reader = new RecordingReader(recording, options);
  const survey = new Survey(reader);
  for await (const item of reader.items()) survey.add(item);
  return survey.result();
}

class Survey {
  readonly #reader: RecordingReader;
  readonly #channels: Map<number, ChannelSurvey>;
  readonly #arrived = new Map<string, PageSet>();
  readonly #rounds: RoundPages[] = [];
  readonly #damages: Damage[] = [];
  readonly #damaged = new Set<number | "main">();
  #damageCount = 0;
  #markers = 0;

  constructor(reader: RecordingReader) {
    this.#reader = reader;
    this.#channels = new Map(reader.channels.map(({ id, size }) => [id, {
      id,
      packets: 0,
      syncs: 0,
      normalPages: 0,
      zeroPages: 0,
      bytes: 0,
      fileBytes: size,
      wholeRounds: 0,
    }]));
  }

  /** Takes note of an item. */
  add(item: RecordedItem): void {
    if (item.type === "packet") {
      this.#addPacket(item);
    } else if (item.type === "record") {
      if (item.kind === "sync") this.#markers++;
      const pages = item.page === undefined ? [] : [item.page];
      this.#addPages(item, item.kind === "page" ? pages : [], item.kind === "zero" ? pages : []);
    } else {
      this.#damaged.add(item.channel);
      this.#damageCount++;
      if (this.#damages.length < MAX_DAMAGES) this.#damages.push(item);
    }
  }

  #addPacket(packet: RecordedPacket): void {
    const { normalPages, pages, data, flags } = packet;
    const channel = this.#channels.get(packet.channel)!;
    const arrived = pages.subarray(0, data === undefined ? 0 : normalPages);
    const zero = pages.subarray(normalPages);
    channel.packets++;
    channel.normalPages += arrived.length;
    channel.zeroPages += zero.length;
    // QEMU 7.2 sends an empty packet behind the last SYNC, which is no round
    if (pages.length > 0 || (flags & FLAG_SYNC) !== 0) this.#addPages(packet, arrived, zero);
    // the damage itself is told behind its packet
    if (arrived.length < normalPages) this.#damaged.add(channel.id);
    if ((flags & FLAG_SYNC) === 0) return;
    channel.syncs++;
    if (!this.#damaged.has(channel.id)) channel.wholeRounds++;
  }

  #addPages(
    { block, round }: { block: string | undefined; round: number },
    normal: Iterable<number> & ArrayLike<number>,
    zero: Iterable<number> & ArrayLike<number>,
  ): void {
    const pages = this.#roundOf(round);
    pages.normal += normal.length;
    pages.duplicate += zero.length;
    const arrived = block === undefined ? undefined : this.#arrivedOf(block);
    if (arrived === undefined) return;
    for (const offset of normal) arrived.add(offset / this.#reader.main.pageSize);
    for (const offset of zero) arrived.add(offset / this.#reader.main.pageSize);
  }

  /** A round's pages; what follows the last round that is told apart is added to it. */
  #roundOf(round: number): RoundPages {
    const ordinal = Math.min(round, MAX_ROUNDS) - 1;
    while (this.#rounds.length <= ordinal) this.#rounds.push({ normal: 0, duplicate: 0 });
    return this.#rounds[ordinal]!;
  }

  #arrivedOf(block: string): PageSet | undefined {
    const known = this.#reader.main.blocks?.get(block);
    if (known === undefined) return undefined;
    let arrived = this.#arrived.get(block);
    if (arrived === undefined) {
      arrived = new PageSet(known.usedLength / this.#reader.main.pageSize);
      this.#arrived.set(block, arrived);
    }
    return arrived;
  }

  /** What was noted. */
  result(): RecordingSurvey {
    const { main, channels: files } = this.#reader;
    const channels = [...this.#channels.values()];
    for (const { id, bytesRead } of files) this.#channels.get(id)!.bytes = bytesRead;
    const blocks = [...main.blocks?.values() ?? []].map((block) =>
      surveyOf(block, main.pageSize, this.#arrived.get(block.name))
    );
    return {
      machine: main.machine,
      pageSize: main.pageSize,
      mainBytes: main.bytesRead,
      channels,
      rounds: this.#rounds,
      wholeRounds: Math.min(this.#markers, ...channels.map(({ wholeRounds }) => wholeRounds)),
      blocks,
      damages: this.#damages,
      damageCount: this.#damageCount,
    };
  }
}

function surveyOf(block: RamBlock, pageSize: number, arrived: PageSet | undefined): BlockSurvey {
  const pages = block.usedLength / pageSize;
  const missing: Stretch[] = [];
  for (let page = 0; page < pages && missing.length < MAX_STRETCHES; page++) {
    if (arrived?.has(page)) continue;
    const first = page;
    while (page < pages && !arrived?.has(page)) page++;
    missing.push({ offset: first * pageSize, length: (page - first) * pageSize });
  }
  return { ...block, pages, arrived: arrived?.count ?? 0, missing };
}
