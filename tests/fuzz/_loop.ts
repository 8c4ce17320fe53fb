/** Feeds targets, and keeps what goes wrong. */
import { joined } from "../methods/_pages.ts";
import { Random } from "../_random.ts";
import { withinMemory } from "./_allocations.ts";
import { copyOf, type Input, isRefusal, type Target } from "./_target.ts";

/** Longest time of an input, in milliseconds; most take less than one. */
export const MAX_MS = 10_000;
/** What an input may allocate: so much, and so many times its own size. */
const BASE_MEMORY = 64 * 1024 * 1024;
const MEMORY_FACTOR = 32;
/** How long a failing input is made smaller, in milliseconds. */
const MAX_TRYING_MS = 3000;

/** What was done with a target. */
export interface Tally {
  taken: number;
  refused: number;
}

/** An input that went wrong. */
export interface Failure {
  target: Target;
  seed: number;
  iteration: number;
  error: unknown;
  input: Input;
}

/** The random numbers of an iteration: the seed and its number alone decide its input. */
export function randomOf(seed: number, iteration: number): Random {
  return new Random(Math.imul(seed, 0x9e3779b1) + Math.imul(iteration, 0x85ebca6b));
}

function orHang(work: Promise<void>): Promise<void> {
  let timer: ReturnType<typeof setTimeout>;
  const hang = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it hangs for ${MAX_MS} ms`)), MAX_MS);
  });
  return Promise.race([work, hang]).finally(() => clearTimeout(timer));
}

/**
 * Runs one input.
 *
 * @returns Whether it was taken; else it was refused as it should be.
 * @throws What went wrong.
 */
export async function tryInput(target: Target, input: Input): Promise<boolean> {
  const size = Object.values(input.parts).reduce((sum, { length }) => sum + length, 0);
  const started = performance.now();
  try {
    const copy = copyOf(input);
    await withinMemory(BASE_MEMORY + MEMORY_FACTOR * size, () => {
      const work = target.run(copy);
      return work === undefined ? undefined : orHang(work);
    });
    return true;
  } catch (error) {
    if (!(target.refuses ?? isRefusal)(error)) throw error;
    return false;
  } finally {
    const took = performance.now() - started;
    // deno-lint-ignore no-unsafe-finally
    if (took > MAX_MS) throw new Error(`it took ${Math.round(took)} ms`);
  }
}

/** What two failures of one cause have in common: the words, without the numbers. */
function kindOf(error: unknown): string {
  return `${error}`.replace(/\d+/g, "0").slice(0, 200);
}

/** Cuts out of each part what the failure does not need, or makes it zero, in halving pieces. */
export async function minimise({ target, input, error }: Failure): Promise<Input> {
  const kind = kindOf(error);
  const end = performance.now() + MAX_TRYING_MS;
  let smallest = input;
  for (const name of Object.keys(input.parts)) {
    for (let size = input.parts[name]!.length >> 1; size > 0; size >>= 1) {
      for (let at = 0; at < smallest.parts[name]!.length && performance.now() < end;) {
        const bytes = smallest.parts[name]!;
        const without = joined([bytes.subarray(0, at), bytes.subarray(at + size)]);
        const zeroed = bytes.slice().fill(0, at, at + size);
        const found = await firstThatFails(
          target,
          kind,
          [without, zeroed].map((part) => ({
            ...smallest,
            parts: { ...smallest.parts, [name]: part },
          })),
        );
        smallest = found ?? smallest;
        if (smallest.parts[name]!.length === bytes.length) at += size;
      }
    }
  }
  return smallest;
}

/** The first input that fails in this way. */
async function firstThatFails(
  target: Target,
  kind: string,
  inputs: readonly Input[],
): Promise<Input | undefined> {
  for (const input of inputs) {
    try {
      await tryInput(target, input);
    } catch (error) {
      if (kindOf(error) === kind) return input;
    }
  }
  return undefined;
}

/** Makes the input of an iteration. */
async function generate(target: Target, seed: number, iteration: number): Promise<Input> {
  try {
    return await target.generate(randomOf(seed, iteration));
  } catch (cause) {
    const which = `${target.name}: seed ${seed}, iteration ${iteration}`;
    throw new Error(`The fuzzer itself fails in ${which}: ${cause}`, { cause });
  }
}

/** How a target is fed. */
export interface FeedOptions {
  seed: number;
  /** The first iteration's number. */
  from: number;
  /** Whether another iteration follows. */
  goesOn: (iteration: number) => boolean;
  /** Told of each iteration before it begins. */
  onIteration?: ((iteration: number) => void) | undefined;
}

/**
 * Feeds a target until it fails or is through.
 *
 * @returns The number of the next iteration, or the failure.
 */
export async function feed(
  target: Target,
  tally: Tally,
  { seed, from, goesOn, onIteration }: FeedOptions,
): Promise<number | Failure> {
  let iteration = from;
  for (; goesOn(iteration); iteration++) {
    onIteration?.(iteration);
    const input = await generate(target, seed, iteration);
    try {
      if (await tryInput(target, input)) tally.taken++;
      else tally.refused++;
    } catch (error) {
      return { target, seed, iteration, error, input };
    }
  }
  return iteration;
}
