/** Programs that move the same image, in turn, each time in fresh processes. */
import { tell } from "../src/cli/output.ts";
import { type Load, withLoad } from "./_load.ts";

/** What one move of the image took. */
export interface Move {
  /** From the first connection to all pages held, in milliseconds. */
  time: number;
  /** To the destination's word that all is well, in milliseconds. */
  wholeTime: number;
  /** CPU seconds of the sending process, without its start-up. */
  sendCpu: number;
  /** CPU seconds of the receiving process, without its start-up. */
  receiveCpu: number;
  /** Bytes that were sent. */
  bytes: number;
  /** All that the sender said. */
  sent: object;
  /** All that the receiver said. */
  received: object;
}

/** A move among others. */
export interface Run extends Move {
  round: number;
  /** Which run of the round it was, from 0. */
  place: number;
  method: string;
  channels: number;
  program: string;
  load: Load;
}

/** A program, or a pair of them. */
export interface Program {
  method: string;
  channels: number;
  name: string;
  /** Moves the image once; `isCheck` also compares what arrived with it. */
  run(isCheck: boolean): Promise<Move>;
}

/**
 * Runs all programs, round by round, after a first round that checks them and does not count.
 * Those of one method and number of channels are neighbours. The runs come back by program.
 */
export async function interleave(programs: readonly Program[], runs: number): Promise<Run[]> {
  const runsOf = new Map<Program, Run[]>(programs.map((program) => [program, []]));
  const groups = [
    ...Map.groupBy(programs, ({ method, channels }) => `${method} x${channels}`).values(),
  ];
  for (let round = 0; round <= runs; round++) {
    tell(round === 0 ? "comparing what arrives with the image" : `round ${round} of ${runs}`);
    const order = groups.flatMap((group) => inOrder(group, round));
    for (const [place, program] of order.entries()) {
      const { method, channels, name } = program;
      const [move, load] = await withLoad(() => program.run(round === 0));
      if (round === 0) continue;
      runsOf.get(program)!.push({ round, place, method, channels, program: name, ...move, load });
    }
  }
  return [...runsOf.values()].flat();
}

/**
 * A round's order: 0, 1, last, 2, last but one and so on, moved on by one each round and backwards
 * in every other one, so that all come behind each other equally often. What a program leaves to
 * the next one is then nobody's advantage (E. J. Williams, Experimental designs balanced for the
 * estimation of residual effects of treatments, 1949).
 */
function inOrder<T>(items: readonly T[], round: number): T[] {
  const count = items.length;
  const order = items.map((_, place) => {
    const step = place % 2 === 1 ? (place + 1) / 2 : count - place / 2;
    return items[(step + round) % count]!;
  });
  return round % 2 === 0 ? order : order.reverse();
}
