/** The pages of each round of a migration. */
import { MAX_ROUNDS, type RoundPages } from "../ram/manifest.ts";

/** Counts pages from sync to sync. */
export class Rounds {
  /** The rounds, the set-up's empty one first; what follows the last that fits is added to it. */
  readonly list: RoundPages[] = [];
  /** How many there were. */
  count = 0;
  #normal = 0;
  #duplicate = 0;

  /** A round is over on all channels: takes the pages of all rounds so far. */
  end({ normal, duplicate }: RoundPages): void {
    const round = { normal: normal - this.#normal, duplicate: duplicate - this.#duplicate };
    this.#normal = normal;
    this.#duplicate = duplicate;
    this.count++;
    if (this.list.length < MAX_ROUNDS) {
      this.list.push(round);
      return;
    }
    const last = this.list.at(-1)!;
    last.normal += round.normal;
    last.duplicate += round.duplicate;
  }
}
