/** Options that the benchmarks share: one that is wrong ends the program in a line that says why. */
import process from "node:process";
import { parseArgs, type ParseArgsConfig } from "node:util";
import { EXIT } from "../src/cli/exit_code.ts";
import { tell } from "../src/cli/output.ts";

/** What every benchmark that moves an image takes. */
export const COMMON = {
  size: { type: "string", default: "1G" },
  runs: { type: "string", default: "9" },
  channels: { type: "string", default: "2" },
  runtime: { type: "string", default: "deno,bun" },
  image: { type: "string" },
  json: { type: "string" },
} as const;

type Options = NonNullable<ParseArgsConfig["options"]>;

/** The command line's options. */
export function readOptions<const O extends Options>(
  options: O,
): ReturnType<typeof parseArgs<{ options: O }>>["values"] {
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    return refuse((error as Error).message);
  }
}

function refuse(why: string): never {
  tell(why);
  process.exit(EXIT.usage);
}

/** Bytes from `64M` or `1G`. */
export function parseSize(text: string): number {
  const match = /^(\d+)([MG])$/.exec(text);
  if (match === null) return refuse(`${text} is no size: write 256M or 1G`);
  return Number(match[1]) * 1024 ** (match[2] === "G" ? 3 : 2);
}

/** A whole number above zero. */
export function parseCount(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) return refuse(`${text} is no number above zero`);
  return Number(text);
}

/** `a,b,c`, each of some choices. */
export function parseList(text: string, choices: readonly string[]): string[] {
  const list = text.split(",");
  const unknown = list.find((item) => !choices.includes(item));
  if (unknown === undefined) return list;
  return refuse(`${unknown} is unknown; there are: ${choices.join(", ")}`);
}

/** Options as a report tells them: without this machine's paths. */
export function reported(values: Record<string, unknown>): Record<string, unknown> {
  return { ...values, image: undefined, json: undefined, qemu: undefined };
}
