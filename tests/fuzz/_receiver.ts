/** Whole migrations, made up or recorded, damaged or not, played into the receiver. */
import { assert } from "@std/assert";
import { ProtocolError, TimedOutError } from "../../src/errors.ts";
import { Receiver } from "../../src/migration/receiver.ts";
import { Random } from "../_random.ts";
import { joined, same } from "../methods/_pages.ts";
import { FuzzConnection } from "./_connection.ts";
import { damageMigration } from "./_damage.ts";
import { CheckedImage } from "./_image.ts";
import { makeMigration, type Migration, takeRecording } from "./_migration.ts";
import { isKnown, meaningOf } from "./_oracle.ts";
import { type Input, isRefusal, type Target } from "./_target.ts";

const MAX_RAM = 64 * 1024 * 1024;
/** Longer than any input takes; what waits as long waits for ever, in milliseconds. */
const TIMEOUT = 8000;
/** Where somebody is ignored, waiting for another is right, in milliseconds. */
const STRANGER_TIMEOUT = 300;

function inputOf({ main, channels, options }: Migration, random: Random, isValid: boolean): Input {
  const streams = channels.map((packets, i) => {
    const bytes = joined(packets.flatMap(({ header, payload }) => [header, payload]));
    return [`ch${i}`, bytes] as const;
  });
  return {
    parts: { main: joined(main), ...Object.fromEntries(streams) },
    options: {
      ...options,
      isValid,
      order: random.u32(),
      engine: random.pick(["builtin", "auto"]),
      isPlayback: random.below(4) > 0,
    },
  };
}

/** Whether some connection is neither a main channel nor greets, and so may be ignored. */
function hasStranger(input: Input): boolean {
  return Object.values(input.parts).some((bytes) => !isKnown(bytes));
}

async function receiveInput(input: Input, image: CheckedImage): Promise<void> {
  const { parts, options } = input;
  const random = new Random(options.order as number);
  const receiver = new Receiver({
    target: image,
    channels: options.channels as number | undefined,
    method: options.method as string | undefined,
    engine: options.engine as string,
    maxRam: options.maxRam as number | undefined ?? MAX_RAM,
    missingAsZero: options.missingAsZero === true,
    timeout: hasStranger(input) ? STRANGER_TIMEOUT : TIMEOUT,
    transport: "fuzz",
    isPlayback: options.isPlayback === true,
    drain: () => Promise.resolve(),
  });
  const done = receiver.run();
  const connections = Object.entries(parts)
    .map(([name, bytes]) => new FuzzConnection(name, bytes, random));
  // they come in any order
  if (random.below(2) === 0) connections.reverse();
  for (const connection of connections) receiver.add(connection);
  await done;
}

async function runMigration(input: Input): Promise<void> {
  const { options } = input;
  const image = new CheckedImage(options.maxRam as number | undefined ?? MAX_RAM);
  try {
    await receiveInput(input, image);
  } catch (error) {
    if (image.wrong !== undefined) throw image.wrong;
    if (options.isValid && isRefusal(error)) {
      throw new Error(`what is valid was refused: ${error}`, { cause: error });
    }
    if (error instanceof TimedOutError && hasStranger(input)) {
      throw new ProtocolError("Nobody else came", {}, { cause: error });
    }
    throw error;
  }
  if (image.wrong !== undefined) throw image.wrong;
  checkImage(input, image);
}

/** What was taken must keep to the format, and give the image that it means. */
function checkImage(input: Input, image: CheckedImage): void {
  const { pages, open } = meaningOf(input);
  for (const key of new Set([...pages.keys(), ...image.pages.keys()])) {
    if (open.has(key)) continue;
    const [expected, got] = [pages.get(key), image.pages.get(key)];
    const size = (expected ?? got)!.length;
    const zero = new Uint8Array(size);
    const name = key.replace("\0", ", offset ");
    assert(same(got ?? zero, expected ?? zero), `the image is wrong in ${name}`);
  }
}

const migrations: Target = {
  name: "migrations",
  weight: 8,
  async generate(random) {
    const migration = await makeMigration(random);
    const isValid = random.below(5) === 0;
    if (!isValid) damageMigration(migration, random);
    return inputOf(migration, random, isValid);
  },
  run: runMigration,
};

const recordings: Target = {
  name: "recordings",
  weight: 4,
  generate(random) {
    const migration = takeRecording(random);
    const isValid = random.below(10) === 0;
    if (!isValid) damageMigration(migration, random);
    return inputOf(migration, random, isValid);
  },
  run: runMigration,
};

/** Migrations that were made up, and recordings of real ones. */
export const RECEIVER_TARGETS: readonly Target[] = [migrations, recordings];
