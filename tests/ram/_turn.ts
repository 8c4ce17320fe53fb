/** What write_turn_test.ts and its threads say to each other. */

/** Words of the shared memory: threads that have started. */
export const READY = 0;
/** Who is inside, 0 for nobody. */
export const INSIDE = 1;
/** How often somebody else was. */
export const OVERLAPS = 2;
/** Turns that were taken. */
export const TAKEN = 3;
/** How many words there are. */
export const WORDS = 4;

/** To a thread: take so many turns; 0 takes one and never passes it. */
export interface TurnTask {
  id: number;
  turn: SharedArrayBuffer;
  words: SharedArrayBuffer;
  turns: number;
}

/** From a thread. */
export interface Figures {
  /** Its longest turn, in milliseconds. */
  longest: number;
}
