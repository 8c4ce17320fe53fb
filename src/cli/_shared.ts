/** Options and habits that several verbs share. */
import process from "node:process";
import { methodNames } from "../methods/registry.ts";
import { TRANSPORTS } from "../migration/transports.ts";
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
  help: "the shim's sockets and a worker per channel, or the runtime's own (default auto)",
};

/** `--timeout`. */
export const timeoutOption: OptionSpec = {
  kind: "seconds",
  value: "SECONDS",
  help: "give up when nothing moves for so long, 0 for never (default 60)",
};

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
