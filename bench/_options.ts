/** Options that the benchmarks share. */
/** What every benchmark that moves an image takes. */
export const COMMON = {
  size: { type: "string", default: "1G" },
  runs: { type: "string", default: "9" },
  channels: { type: "string", default: "2" },
  runtime: { type: "string", default: "deno,bun" },
  image: { type: "string" },
  json: { type: "string" },
} as const;

/** Bytes from `64M` or `1G`. */
export function parseSize(text: string): number {
  const match = /^(\d+)([MG])$/.exec(text);
  if (match === null) throw new Error(`${text} is no size: write 256M or 1G`);
  return Number(match[1]) * 1024 ** (match[2] === "G" ? 3 : 2);
}

/** A whole number above zero. */
export function parseCount(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new Error(`${text} is no number above zero`);
  return Number(text);
}

/** `a,b,c`, each of some choices. */
export function parseList(text: string, choices: readonly string[]): string[] {
  const list = text.split(",");
  const unknown = list.find((item) => !choices.includes(item));
  if (unknown === undefined) return list;
  throw new Error(`${unknown} is unknown; there are: ${choices.join(", ")}`);
}

/** Options as a report tells them: without this machine's paths. */
export function reported(values: Record<string, unknown>): Record<string, unknown> {
  return { ...values, image: undefined, json: undefined, qemu: undefined };
}
