/** A strict reader of Prometheus' text format: what the format forbids, and what promtool warns of. */

/** A metric as it was read. */
export interface ReadFamily {
  type: string;
  help: string;
  /** Values by their labels, as they are written: `channel="0",kind="zero"`. */
  samples: Map<string, number>;
}

const NAME = "[a-zA-Z_][a-zA-Z0-9_]*";
const LABEL = `${NAME}="(?:[^"\\\\\\n]|\\\\["\\\\n])*"`;
const SAMPLE = new RegExp(`^(${NAME})(?:\\{((?:${LABEL}(?:,${LABEL})*)?)\\})? (\\S+)$`);
const NUMBER = /^-?\d+(\.\d+)?(e[+-]?\d+)?$/;
/** Units that have a base unit, and short names of units. */
const BAD_WORDS = /_(milliseconds|ms|sec|s|minutes|hours|bits|b|kilobytes|kb|megabytes|mb|gb)(_|$)/;
/** Words that a family's type says already, or that other types have as endings. */
const RESERVED = /_(counter|gauge|histogram|summary)(_|$)|_(count|sum|bucket)$/;

/**
 * Reads a text.
 *
 * @throws {Error} At the first line that is wrong.
 */
export function readExposition(text: string): Map<string, ReadFamily> {
  const families = new Map<string, ReadFamily>();
  if (!text.endsWith("\n")) throw new Error("the last line does not end");
  let name = "";
  let help: string | undefined;
  for (const [i, line] of text.slice(0, -1).split("\n").entries()) {
    const fail = (why: string): never => {
      throw new Error(`line ${i + 1}: ${why}: ${line}`);
    };
    const [, keyword, of, rest] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? [];
    if (keyword === "HELP") {
      if (help !== undefined) fail("a second HELP");
      if (families.has(of!)) fail("a metric in two places");
      if (/\\(?![\\n])/.test(rest!)) fail("a wrong escape");
      [name, help] = [of!, rest!];
    } else if (keyword === "TYPE") {
      if (of !== name || help === undefined) fail("a TYPE without HELP");
      checkName(of!, rest!, fail);
      families.set(name, { type: rest!, help: help!, samples: new Map() });
      help = undefined;
    } else {
      const [, of, labels = "", value] = SAMPLE.exec(line) ?? fail("no sample");
      const family = families.get(of!);
      if (of !== name || family === undefined) return fail("a sample outside its metric");
      if (family.samples.has(labels)) fail("a series twice");
      if (!NUMBER.test(value!)) fail("no number");
      if (family.type === "counter" && Number(value) < 0) fail("a counter below zero");
      family.samples.set(labels, Number(value));
    }
  }
  for (const [name, { samples }] of families) {
    if (samples.size === 0) throw new Error(`${name} has no samples`);
  }
  return families;
}

function checkName(name: string, type: string, fail: (why: string) => never): void {
  if (!new RegExp(`^${NAME}$`).test(name) || /[A-Z]/.test(name)) fail("a wrong name");
  if (type !== "counter" && type !== "gauge") fail("a wrong type");
  if ((type === "counter") !== name.endsWith("_total")) fail("_total is for counters");
  if (BAD_WORDS.test(name)) fail("no base unit");
  if (RESERVED.test(name)) fail("a reserved word");
}
