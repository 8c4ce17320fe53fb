/** Stand-in for what the command uses of jsr:@std/cli/parse-args, over node:util. */
import { parseArgs as parse } from "node:util";

/** The options of the real one that are used here. */
export interface ParseOptions {
  boolean?: readonly string[];
  string?: readonly string[];
  collect?: readonly string[];
  alias?: Record<string, string>;
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** Parsed arguments. */
export interface Args {
  _: (string | number)[];
  [name: string]: unknown;
}

/** Takes command-line flags apart. */
export function parseArgs(args: string[], options: ParseOptions = {}): Args {
  const { boolean = [], string = [], collect = [], alias = {}, unknown } = options;
  const config: Record<string, { type: "boolean" | "string"; multiple: boolean; short?: string }> =
    {};
  for (const name of boolean) config[name] = { type: "boolean", multiple: true };
  for (const name of string) {
    if (name !== "_") config[name] = { type: "string", multiple: true };
  }
  for (const [short, name] of Object.entries(alias)) config[name]!.short = short;
  const { tokens } = parse({ args, options: config, strict: false, tokens: true });
  const parsed: Args = { _: [] };
  for (const name of boolean) parsed[name] = false;
  for (const name of collect) parsed[name] = [];
  for (const token of tokens) {
    if (token.kind === "positional") {
      if (unknown?.(token.value) !== false) parsed._.push(token.value);
    } else if (token.kind === "option") {
      const known = config[token.name];
      if (known === undefined) unknown?.(token.rawName, token.name, token.value);
      else if (known.type === "boolean") parsed[token.name] = token.value !== "false";
      else if (collect.includes(token.name)) {
        (parsed[token.name] as string[]).push(token.value ?? "");
      } else parsed[token.name] = token.value ?? "";
    }
  }
  return parsed;
}
