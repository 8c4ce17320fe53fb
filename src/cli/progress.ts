/** The progress line: on a terminal in place, in a log a line now and then. */
import type { EventHandler, Progress } from "../migration/info.ts";
import { clearStatus, formatBytes, isOnTerminal, showStatus, tell } from "./output.ts";

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

/**
 * Makes an event handler that keeps people informed on stderr.
 *
 * @param quiet Whether only warnings are told.
 * @param beside What to add to the line.
 */
export function progressLine(quiet: boolean, beside: () => string = () => ""): EventHandler {
  let nextLog = LOG_MS;
  return (event) => {
    if (event.type === "warning") tell(`multifd: ${event.message}`);
    if (event.type === "finishing") clearStatus();
    if (quiet || event.type !== "progress" || event.elapsed < QUIET_MS) return;
    const line = `${render(event)}${beside()}`;
    if (isOnTerminal()) {
      showStatus(line);
    } else if (event.elapsed >= nextLog) {
      nextLog = event.elapsed + LOG_MS;
      tell(line);
    }
  };
}
