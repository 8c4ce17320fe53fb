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

/** Runs all programs, round by round, after a first round that checks them and does not count. */
export async function interleave(programs: readonly Program[], runs: number): Promise<Run[]> {
  const all: Run[] = [];
  for (let round = 0; round <= runs; round++) {
    tell(round === 0 ? "comparing what arrives with the image" : `round ${round} of ${runs}`);
    for (const program of programs) {
      const { method, channels, name } = program;
      const [move, load] = await withLoad(() => program.run(round === 0));
      if (round > 0) all.push({ round, method, channels, program: name, ...move, load });
    }
  }
  return all;
}
