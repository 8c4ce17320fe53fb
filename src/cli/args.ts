/** Command-line options: what each takes, read and checked in one place. */
import { parseArgs } from "@std/cli/parse-args";
import { OptionError } from "../errors.ts";

/** What kind of value an option takes. */
type Kind = "flag" | "text" | "list" | "number" | "size" | "seconds";

/** An option of a verb. */
export interface OptionSpec {
  /** What kind of value it takes. */
  kind: Kind;
  /** What the value is called in the help; nothing for a flag. */
  value?: string;
  /** The values there are, where they are few. */
  choices?: readonly string[];
  /** What it does, in a line. */
  help: string;
}

/** A verb of the command. */
export interface Verb {
  /** What it is called. */
  name: string;
  /** What it does, in a line. */
  summary: string;
  /** How it is called, after the name. */
  usage: string;
  /** Its options by name. */
  options: Record<string, OptionSpec>;
  /** Commands that teach it, each with a word of explanation. */
  examples: readonly (readonly [command: string, meaning: string])[];
  /** Runs it; returns the exit code. */
  run(options: Options): Promise<number>;
}

/** The value of `--engine` that lists them, known before any engine is loaded. */
export const LIST_ENGINES = "list";

/** Options that every verb takes. */
const COMMON: Record<string, OptionSpec> = {
  json: {
    kind: "flag",
    help: "print the result as JSON, a migration's in query-migrate's names",
  },
  quiet: { kind: "flag", help: "no progress, only results and errors" },
  help: { kind: "flag", help: "show this" },
};

/** All options of a verb, by name. */
export function optionsOf(verb: Verb): Record<string, OptionSpec> {
  return { ...verb.options, ...COMMON };
}

/** Parsed and checked options. */
export class Options {
  /** What is no option: images, a path. */
  readonly operands: readonly string[];
  readonly #values: ReadonlyMap<string, unknown>;

  constructor(operands: readonly string[], values: ReadonlyMap<string, unknown>) {
    this.operands = operands;
    this.#values = values;
  }

  /** Whether a flag is set. */
  flag(name: string): boolean {
    return this.#values.get(name) === true;
  }

  /** A text's value; undefined if it was not given. */
  text<T extends string = string>(name: string): T | undefined {
    return this.#values.get(name) as T | undefined;
  }

  /** A list's values. */
  list(name: string): string[] {
    return (this.#values.get(name) ?? []) as string[];
  }

  /** A number's, a size's (bytes) or a time's (milliseconds) value; undefined if not given. */
  number(name: string): number | undefined {
    return this.#values.get(name) as number | undefined;
  }

  /**
   * A text's value that must be given.
   *
   * @throws {OptionError} If it is not.
   */
  required(name: string): string {
    const value = this.text(name);
    if (value === undefined) throw new OptionError(`--${name} is missing`);
    return value;
  }
}

/**
 * Reads a verb's arguments.
 *
 * @throws {OptionError} On an unknown option or a value that is none.
 */
export function parseOptions(verb: Verb, args: string[]): Options {
  const specs = optionsOf(verb);
  const names = Object.keys(specs);
  const ofKind = (...kinds: Kind[]): string[] =>
    names.filter((name) => kinds.includes(specs[name]!.kind));
  const parsed = parseArgs(args, {
    boolean: ofKind("flag"),
    string: ["_", ...ofKind("text", "list", "number", "size", "seconds")],
    collect: ofKind("list"),
    alias: { h: "help" },
    unknown: (arg, key) => {
      if (key === undefined) return true;
      throw new OptionError(`Option ${arg} is unknown${didYouMean(key, names)}`);
    },
  });
  const values = new Map<string, unknown>();
  for (const name of names) {
    const raw = parsed[name];
    if (raw === undefined) continue;
    values.set(
      name,
      Array.isArray(raw) ? raw.flatMap(splitList) : readValue(name, specs[name]!, raw),
    );
  }
  for (const name of ofKind("list")) {
    for (const value of values.get(name) as string[]) checkChoice(name, specs[name]!, value);
  }
  return new Options(parsed._.map(String), values);
}

const splitList = (value: string): string[] => value.split(",");

function readValue(name: string, spec: OptionSpec, raw: unknown): unknown {
  if (spec.kind === "flag") return raw;
  const text = String(raw);
  if (text === "") throw new OptionError(`--${name} needs a value: ${spec.value}`);
  if (spec.kind === "number") return readNumber(name, text, /^\d+$/, 1);
  if (spec.kind === "seconds") return readNumber(name, text, /^\d+(\.\d+)?$/, 1000);
  if (spec.kind === "size") return parseSize(name, text);
  checkChoice(name, spec, text);
  return text;
}

function checkChoice(name: string, { choices }: OptionSpec, value: string): void {
  if (choices === undefined || choices.includes(value)) return;
  throw new OptionError(
    `--${name} ${value} is unknown${didYouMean(value, choices)}; there are: ${choices.join(", ")}`,
  );
}

function readNumber(name: string, text: string, form: RegExp, unit: number): number {
  if (form.test(text)) return Number(text) * unit;
  throw new OptionError(`--${name} ${text} is no number`);
}

const SIZE_UNITS: Record<string, number> = {
  "": 1,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
  T: 2 ** 40,
};

function parseSize(name: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?$/i.exec(text);
  if (match === null) throw new OptionError(`--${name} ${text} is no size: write 4096, 512M or 6G`);
  return Math.floor(Number(match[1]) * SIZE_UNITS[match[2]!.toUpperCase()]!);
}

/** The nearest of some names, as a question; nothing if none is near. */
export function didYouMean(word: string, names: readonly string[]): string {
  let nearest = "";
  let least = 1 + Math.max(2, Math.floor(word.length / 3));
  for (const name of names) {
    const steps = distance(word, name);
    if (steps >= least) continue;
    least = steps;
    nearest = name;
  }
  return nearest === "" ? "" : `, did you mean "${nearest}"?`;
}

/** Levenshtein's distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/** Where the help of an option starts, and how wide it is. */
const [HELP_COLUMN, HELP_WIDTH] = [29, 70] as const;

/** Breaks a text into lines between words. */
function wrap(text: string): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = `${lines.at(-1)} ${word}`.trimStart();
    if (line.length <= HELP_WIDTH) lines[lines.length - 1] = line;
    else lines.push(word);
  }
  return lines;
}

/** A verb's help. */
export function helpOf(verb: Verb): string {
  const lines = [`${verb.summary}\n`, `Usage: multifd ${verb.name} ${verb.usage}\n`, "Examples:"];
  for (const [command, meaning] of verb.examples) lines.push(`  # ${meaning}`, `  ${command}`);
  lines.push("", "Options:");
  for (const [name, spec] of Object.entries(optionsOf(verb))) {
    const head = `  --${name}${spec.value === undefined ? "" : ` ${spec.value}`}`;
    const choices = spec.choices ? [`(${spec.choices.join(", ")})`] : [];
    const [first, ...rest] = [...wrap(spec.help), ...choices];
    lines.push(`${head} `.padEnd(HELP_COLUMN) + first);
    for (const line of rest) lines.push("".padEnd(HELP_COLUMN) + line);
  }
  return lines.join("\n");
}
