/** Options and habits that several verbs share. */
import process from "node:process";
import { fileURLToPath } from "node:url";
import { IS_COMPILED } from "../../ffi/find.ts";
import { methodNames } from "../methods/registry.ts";
import { TRANSPORTS } from "../migration/transports.ts";
import { IMAGE_FORMATS } from "../ram/image_format.ts";
import type { OptionSpec } from "./args.ts";

/** `--method`. */
export const methodOption: OptionSpec = {
  kind: "text",
  value: "METHOD",
  choices: methodNames(),
  help: "compression method",
};

/** `--transport`. */
export const transportOption: OptionSpec = {
  kind: "text",
  value: "T",
  choices: TRANSPORTS,
  help: "the shim's sockets and workers, or the runtime's own in one thread (default auto)",
};

/** `--format`. */
export const formatOption: OptionSpec = {
  kind: "text",
  value: "FORMAT",
  choices: IMAGE_FORMATS,
  help: "a directory with a manifest, or a file that QEMU loads with -incoming file:",
};

/** `--max-ram`. */
export const maxRamOption: OptionSpec = {
  kind: "size",
  value: "SIZE",
  help: "most guest RAM to take (default 1T)",
};

/** `--timeout`. */
export const timeoutOption: OptionSpec = {
  kind: "seconds",
  value: "SECONDS",
  help: "give up when nothing moves for so long, 0 for never (default 60)",
};

/** This command, to be started again under the same runtime; a compiled one is all of it. */
export function ownCommand(): [command: string, ...args: string[]] {
  if (IS_COMPILED) return [process.execPath];
  const self = new URL("./main.ts", import.meta.url);
  const script = self.protocol === "file:" ? fileURLToPath(self) : self.href;
  return [process.execPath, ...("Deno" in globalThis ? ["run", "-A"] : []), script];
}

/** Runs with a signal that SIGINT and SIGTERM abort. */
export async function withSignals<T>(run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const onSignal = (name: string): void => controller.abort(new Error(name));
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  try {
    return await run(controller.signal);
  } finally {
    process.removeListener("SIGINT", onSignal);
    process.removeListener("SIGTERM", onSignal);
  }
}
