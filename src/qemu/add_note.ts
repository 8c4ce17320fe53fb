/** Telling on with an error what its thrower could not know. */
import { MultifdError } from "../errors.ts";

/** The same error with more said; others than ours stay as they are. */
export function addNote(error: unknown, note: string): unknown {
  if (!(error instanceof MultifdError)) return error;
  const Class = error.constructor as typeof MultifdError;
  return new Class(`${error.summary}${note}`, error.facts, { cause: error });
}
