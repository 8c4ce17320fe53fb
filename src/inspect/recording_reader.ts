/** All files of a recording, one after another, each read as far as it goes. */
import { setImmediate } from "node:timers/promises";
import { CancelledError, ImageError, OptionError, ProtocolError } from "../errors.ts";
import { formatUuid } from "../ram/manifest.ts";
import { isRecording, recordingFiles } from "../transport/recording.ts";
import { ChannelFile } from "./channel_file.ts";
import type { Damage, RecordedItem } from "./items.ts";
import { MainFile } from "./main_file.ts";
import { RecordedMethod } from "./payload.ts";

/** Items after which other work of this thread has its turn. */
const TURN = 32;

/** How a recording is read. */
export interface RecordingOptions {
  /** Most bytes of guest RAM that it may announce. Default 1 TiB. */
  maxRam?: number | undefined;
  /** Engine to decompress with. Default `auto`. */
  engine?: string | undefined;
  /** Stops early. */
  signal?: AbortSignal | undefined;
}

/** A recording, which is read once. */
export class RecordingReader {
  /** The main channel; what it tells is known once it was read. */
  readonly main: MainFile;
  /** The multifd channels. */
  readonly channels: ChannelFile[] = [];
  readonly #method: RecordedMethod;
  readonly #signal: AbortSignal | undefined;

  /**
   * Opens the files.
   *
   * @param directory The recording.
   * @param options How it is read.
   * @throws {ImageError} If it has no channels, or a file cannot be opened.
   */
  constructor(directory: string, { maxRam, engine, signal }: RecordingOptions) {
    if (!isRecording(directory)) {
      throw new ImageError(`Cannot read ${directory} as a recording: it has no main.bin`);
    }
    const { main, channels } = recordingFiles(directory);
    this.main = new MainFile(main, maxRam);
    this.#method = new RecordedMethod(engine);
    this.#signal = signal;
    try {
      for (const { path, number } of channels) this.channels.push(new ChannelFile(path, number));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Reads the main channel, then the others in the order of their files.
   *
   * @param only The one multifd channel to read, or only the main channel.
   * @param onMain Called when the main channel was read.
   * @returns What they hold, and what is wrong with it.
   * @throws {OptionError} If there is no such channel.
   */
  async *items(
    only?: number | "main",
    onMain: () => void = () => {},
  ): AsyncGenerator<RecordedItem, void, void> {
    let count = 0;
    try {
      for await (const item of this.#all(only, onMain)) {
        // files answer at once, so nothing else would ever have its turn
        if (++count % TURN === 0) await setImmediate();
        if (this.#signal?.aborted) throw cancelled(this.#signal);
        yield item;
      }
    } finally {
      this.close();
    }
  }

  async *#all(
    only: number | "main" | undefined,
    onMain: () => void,
  ): AsyncGenerator<RecordedItem, void, void> {
    const ids = this.channels.map(({ id }) => id);
    if (typeof only === "number" && !ids.includes(only)) {
      throw new OptionError(`Channel ${only} is not recorded; there are: ${ids.join(", ")}`);
    }
    yield* this.main.read();
    onMain();
    for (const [i, channel] of this.channels.entries()) {
      if (only !== undefined && channel.id !== only) continue;
      yield* this.#wrongGreeting(i);
      yield* channel.read(this.main, this.#method);
    }
  }

  /** What a greeting says that does not go with the others. */
  *#wrongGreeting(index: number): Generator<Damage, void, void> {
    const { id, uuid } = this.channels[index]!;
    const damage = (what: string, expected: string, received: string | number): Damage => ({
      type: "damage",
      channel: id,
      offset: 0,
      isReadOn: true,
      error: new ProtocolError(what, { channel: id, expected, received }),
    });
    const count = this.channels.length;
    if (id >= count) yield damage("Channel has too high an id", `an id below ${count}`, id);
    if (this.channels.findIndex((channel) => channel.id === id) < index) {
      yield damage("Two channels have one id", "ids without gaps from 0", id);
    }
    const guest = this.main.uuid ?? this.channels[0]!.uuid;
    if (uuid?.some((byte, i) => guest !== undefined && byte !== guest[i])) {
      yield damage(
        "Channels are of different guests: uuid",
        formatUuid(guest!),
        formatUuid(uuid),
      );
    }
  }

  /** Closes the files. */
  close(): void {
    for (const channel of this.channels) channel.close();
  }
}

function cancelled({ reason }: AbortSignal): CancelledError {
  const why = reason instanceof Error && reason.name !== "AbortError" ? `: ${reason.message}` : "";
  return new CancelledError(`Inspection was cancelled${why}`, {}, { cause: reason });
}
