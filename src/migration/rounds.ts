/** The pages of each round of a migration. */
import { ProtocolError } from "../errors.ts";
import { MAX_ROUNDS, type RoundPages } from "../ram/manifest.ts";

/** Most rounds without a page in a row; QEMU ends with the first. */
const MAX_EMPTY_ROUNDS = 1024;

/** Counts pages from sync to sync. */
export class Rounds {
  /** The rounds, the set-up's empty one first; what follows the last that fits is added to it. */
  readonly list: RoundPages[] = [];
  /** How many there were. */
  count = 0;
  #normal = 0;
  #duplicate = 0;
  #empty = 0;

  /**
   * A round is over on all channels.
   *
   * @param pages The pages of all rounds so far.
   * @throws {ProtocolError} If too many rounds in a row had none.
   */
  end({ normal, duplicate }: RoundPages): void {
    const round = { normal: normal - this.#normal, duplicate: duplicate - this.#duplicate };
    this.#normal = normal;
    this.#duplicate = duplicate;
    this.count++;
    this.#empty = round.normal + round.duplicate === 0 ? this.#empty + 1 : 0;
    if (this.#empty > MAX_EMPTY_ROUNDS) {
      throw new ProtocolError("Peer ends one round after another without a page", {
        channel: "main",
        expected: `at most ${MAX_EMPTY_ROUNDS} in a row`,
      });
    }
    if (this.list.length < MAX_ROUNDS) {
      this.list.push(round);
      return;
    }
    const last = this.list.at(-1)!;
    last.normal += round.normal;
    last.duplicate += round.duplicate;
  }
}
