/** What became of the faults that were injected, for the table that `deno task kill` prints. */
import fs from "node:fs";
import process from "node:process";

/** One more fault of a kind, and how it ended. */
export function count(fault: string, end: string): void {
  const file = process.env.OUTCOMES;
  if (file !== undefined) fs.appendFileSync(file, `${fault}\t${end}\n`);
}

/** Each kind of fault with its ends and how often they came, read from that file. */
export function countsOf(file: string): Map<string, Map<string, number>> {
  const counts = new Map<string, Map<string, number>>();
  if (!fs.existsSync(file)) return counts;
  for (const line of fs.readFileSync(file, "utf8").trimEnd().split("\n")) {
    const [fault, end] = line.split("\t") as [string, string];
    const ends = counts.get(fault) ?? new Map<string, number>();
    counts.set(fault, ends.set(end, (ends.get(end) ?? 0) + 1));
  }
  return counts;
}
