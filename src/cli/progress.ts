/** The progress line: on a terminal in place, in a log a line now and then. */
import type { EventHandler, Progress } from "../migration/info.ts";
import { formatBytes, isOnTerminal, showStatus, tell } from "./output.ts";

/** Nothing is said of what takes less, in milliseconds. */
const QUIET_MS = 1000;
/** How often a log gets a line, in milliseconds. */
const LOG_MS = 5000;

function render(progress: Progress): string {
  const { pages, totalPages, transferred, pageSize, round, elapsed } = progress;
  const rate = pages / (elapsed / 1000);
  const left = Math.max(0, totalPages - pages) / Math.max(rate, 1);
  const percent = Math.min(100, Math.floor(pages * 100 / totalPages));
  const ratio = pages * pageSize / Math.max(transferred, 1);
  return `${percent}% of ${formatBytes(totalPages * pageSize)}, ` +
    `${Math.round(rate * pageSize / 1e6)} MB/s, ${formatBytes(transferred)} on the wire, ` +
    `ratio ${ratio.toFixed(1)}, round ${round}, ${Math.ceil(left)} s left`;
}

/** A line of progress: on a terminal in place, in a log a line now and then. */
class Line {
  #nextLog = LOG_MS;

  /** @param elapsed Milliseconds of the work so far. */
  show(line: string, elapsed: number): void {
    if (isOnTerminal()) return showStatus(line);
    if (elapsed < this.#nextLog) return;
    this.#nextLog = elapsed + LOG_MS;
    tell(line);
  }
}

/**
 * Makes what tells how far something is that reads bytes.
 *
 * @param what What is done with them.
 * @param quiet Whether nothing is told.
 */
export function bytesLine(what: string, quiet: boolean): (bytes: number, total: number) => void {
  const line = new Line();
  const start = performance.now();
  return (bytes, total) => {
    const elapsed = performance.now() - start;
    if (quiet || elapsed < QUIET_MS || total === 0) return;
    const rate = bytes / (elapsed / 1000);
    const left = Math.ceil((total - bytes) / Math.max(rate, 1));
    const percent = Math.floor(bytes * 100 / total);
    line.show(
      `${what} ${percent}% of ${formatBytes(total)}, ${
        Math.round(rate / 1e6)
      } MB/s, ${left} s left`,
      elapsed,
    );
  };
}

/**
 * Makes an event handler that keeps people informed on stderr.
 *
 * @param quiet Whether only warnings are told.
 * @param beside What to add to the line.
 */
export function progressLine(quiet: boolean, beside: () => string = () => ""): EventHandler {
  const line = new Line();
  let hasShown = false;
  return (event) => {
    if (event.type === "warning") tell(`multifd: ${event.message}`);
    // the source's guest stands still until that is done
    if (event.type === "finishing" && hasShown) line.show("every page has arrived, finishing…", 0);
    if (quiet || event.type !== "progress" || event.elapsed < QUIET_MS) return;
    line.show(`${render(event)}${beside()}`, event.elapsed);
    hasShown = true;
  };
}
