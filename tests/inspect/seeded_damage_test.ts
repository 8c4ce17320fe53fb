/** Recordings that are cut or changed at seeded places are read as far as they go. */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import {
  type Damage,
  inspect,
  MultifdError,
  packetsOf,
  PeerClosedError,
  ProtocolError,
  type RecordedItem,
  surveyRecording,
  VerificationError,
} from "../../mod.ts";
import { Random } from "../_random.ts";
import {
  allOf,
  HEADER,
  NAMES,
  OFFSETS_AT,
  packetsAmong,
  recording,
  shape,
  withCopy,
} from "./_recordings.ts";

const SEED = Number(process.env.SEED ?? 20261121);
/** Damaged copies of each recording: DAMAGES=100 tries more. */
const DAMAGES = Number(process.env.DAMAGES ?? 2);

const KINDS = ["cut", "header", "offset", "payload", "main", "any"] as const;

/** Damages a copy; returns what was done. */
async function damage(directory: string, random: Random): Promise<string> {
  const kind = random.pick(KINDS);
  const files = fs.readdirSync(directory).filter((file) => file.endsWith(".bin"));
  const channels = files.filter((file) => file !== "main.bin");
  const file = kind === "main" ? "main.bin" : random.pick(kind === "any" ? files : channels);
  const bytes = new Uint8Array(fs.readFileSync(path.join(directory, file)));
  const flip = (at: number): string => {
    bytes[at]! ^= 1 << random.below(8);
    fs.writeFileSync(path.join(directory, file), bytes);
    return `a bit of byte ${at} of ${file}`;
  };
  if (kind === "cut") {
    const length = random.below(bytes.length);
    fs.writeFileSync(path.join(directory, file), bytes.subarray(0, length));
    return `${file} cut to ${length} bytes`;
  }
  if (kind === "main" || kind === "any") return flip(random.below(bytes.length));
  const id = bytes[24]!;
  const packets = packetsAmong(await allOf(packetsOf(directory, { channel: id })));
  const packet = random.pick(packets.filter(({ normalPages }) => normalPages > 0));
  const place = kind === "payload"
    ? HEADER + random.below(packet.payloadBytes)
    : kind === "offset"
    ? OFFSETS_AT + random.below(8 * packet.pages.length)
    : random.below(OFFSETS_AT);
  return flip(packet.offset + place);
}

/** What inspect() ends with; undefined where it finds nothing. */
async function failureOf(directory: string): Promise<MultifdError | undefined> {
  try {
    await inspect(directory);
    return undefined;
  } catch (error) {
    assert(error instanceof MultifdError, String(error));
    return error;
  }
}

/** Items of a channel that are as they were, before the first that is not. */
function same(items: readonly RecordedItem[], whole: readonly RecordedItem[]): number {
  const differs = items.findIndex((item, i) =>
    whole[i] === undefined || JSON.stringify(shape(item)) !== JSON.stringify(shape(whole[i]!))
  );
  return differs < 0 ? items.length : differs;
}

for (const name of NAMES) {
  test(`packetsOf() reads ${name} past seeded damage (seed ${SEED})`, async () => {
    const whole = await allOf(packetsOf(recording(name)));
    for (let i = 0; i < DAMAGES; i++) {
      await withCopy(name, async (directory) => {
        const random = new Random(SEED + i * NAMES.length + NAMES.indexOf(name));
        const what = await damage(directory, random);
        const items = await allOf(packetsOf(directory));
        const damages = items.filter((item): item is Damage => item.type === "damage");
        const error = await failureOf(directory);
        // what is found here, a receiver refuses; no damage is taken for a failure of ours
        assert(
          damages.length === 0 || error !== undefined,
          `${what}: ${damages[0]?.error.message}`,
        );
        for (const found of [error, ...damages.map(({ error }) => error)]) {
          const isNamed = found === undefined || found instanceof ProtocolError ||
            found instanceof PeerClosedError || found instanceof VerificationError;
          assert(isNamed, `${what}: ${found}`);
        }
        // what a receiver says of a packet is said of the same packet
        const { channel, packet } = error?.facts ?? {};
        const isSame = ({ error: { facts } }: Damage): boolean =>
          facts.channel === channel && facts.packet === packet;
        assert(packet === undefined || damages.some(isSame), `${what}: ${error?.message}`);
        // one file is damaged: every packet of the others is there, as it was
        const ids = new Set(whole.map(({ channel }) => channel));
        const changed = [...ids].filter((id) => {
          const of = (items: readonly RecordedItem[]): RecordedItem[] =>
            items.filter((item) => item.channel === id);
          return same(of(items), of(whole)) < of(whole).length;
        });
        assert(changed.length <= 1, `${what}: ${changed}`);
        const survey = await surveyRecording(directory);
        const messages = damages.map(({ error }) => error.message);
        assertEquals(survey.damages.map(({ error }) => error.message), messages, what);
      });
    }
  });
}
