/**
 * The `multifd` command.
 *
 * @example
 * ```ts no-eval
 * import { main } from "@multifd/multifd/cli";
 *
 * const exitCode = await main(["inspect", "saved-vm"]);
 * ```
 *
 * @module
 */
import process from "node:process";
import { MultifdError } from "../errors.ts";
import { didYouMean, helpOf, LIST_ENGINES, parseOptions, type Verb } from "./args.ts";
import { EXIT, exitCodeOf } from "./exit_code.ts";
import { failureJson, print, tell } from "./output.ts";

/** The verbs. Only the one that runs is loaded: all of them take half of a start. */
const VERBS: Readonly<Record<string, () => Promise<Verb>>> = {
  send: async () => (await import("./send.ts")).send,
  recv: async () => (await import("./recv.ts")).recv,
  save: async () => (await import("./save.ts")).save,
  restore: async () => (await import("./restore.ts")).restore,
  inspect: async () => (await import("./inspect.ts")).inspect,
  convert: async () => (await import("./convert.ts")).convert,
  doctor: async () => (await import("./doctor.ts")).doctor,
  advise: async () => (await import("./advise.ts")).advise,
  demo: async () => (await import("./demo.ts")).demo,
  completion: async () => (await import("./completion.ts")).completion(allVerbs),
};

function allVerbs(): Promise<Verb[]> {
  return Promise.all(Object.values(VERBS).map((load) => load()));
}

async function help(): Promise<string> {
  const verbs = await allVerbs();
  const list = verbs.map(({ name, summary }) => `  ${name.padEnd(10)} ${summary}`).join("\n");
  return `multifd: QEMU's multifd live migration outside QEMU.

Usage: multifd VERB [options]

Verbs:
${list}

multifd VERB --help teaches each by example.
Exit codes: 0 done, 1 failed, 2 usage, 3 the peer broke the protocol or left, 4 verification failed.`;
}

/**
 * Runs the command.
 *
 * @param args Its arguments, the verb first.
 * @returns The exit code: 0 done, 1 failed, 2 usage, 3 the peer broke the protocol or
 *   left, 4 verification failed.
 */
export async function main(args: string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    (name === undefined ? tell : print)(await help());
    return name === undefined ? EXIT.usage : EXIT.done;
  }
  if (!Object.hasOwn(VERBS, name)) {
    tell(`multifd: verb ${name} is unknown${didYouMean(name, Object.keys(VERBS))}`);
    return EXIT.usage;
  }
  const verb = await VERBS[name]!();
  try {
    const options = parseOptions(verb, rest);
    if (options.flag("help")) {
      print(helpOf(verb));
      return EXIT.done;
    }
    if (options.text("engine") === LIST_ENGINES) {
      (await import("./engines.ts")).printEngines(options.flag("json"));
      return EXIT.done;
    }
    return await verb.run(options);
  } catch (error) {
    return fail(verb, error, rest.includes("--json"));
  }
}

function fail(verb: Verb, error: unknown, asJson: boolean): number {
  const code = exitCodeOf(error);
  if (asJson && code !== EXIT.usage) print(JSON.stringify(failureJson(error)));
  tell(`multifd ${verb.name}: ${describe(error)}`);
  if (code === EXIT.usage) tell(`Try: multifd ${verb.name} --help`);
  return code;
}

/** An error that nobody named is a defect: show where; a missing permission of Deno's is none. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const isNamed = error instanceof MultifdError || error.name === "NotCapable";
  return isNamed ? error.message : error.stack ?? error.message;
}

/** Nothing is left to do by then; a worker ended while it starts may keep Deno alive. */
const EXIT_MS = 3000;

if (import.meta.main) {
  process.exitCode = await main(process.argv.slice(2));
  setTimeout(() => process.exit(), EXIT_MS).unref();
}
