/** The options that choose an engine, and the list of engines. */
import { type EngineReport, listEngines } from "../engines/list.ts";
import { engineNames, SIMULATED } from "../engines/select.ts";
import { LIST_ENGINES, type Options, type OptionSpec } from "./args.ts";
import { print, table } from "./output.ts";

/** The options that choose an engine. */
export const engineOptions: Record<string, OptionSpec> = {
  engine: {
    kind: "text",
    value: "ENGINE",
    choices: [...engineNames(), LIST_ENGINES],
    help: "what computes the method: a device first, then the fastest software (default auto)",
  },
  "no-fallback": {
    kind: "flag",
    help: "software never steps in for a device that is busy or fails",
  },
  simulate: {
    kind: "flag",
    help: "use a simulated device, for qpl and qatzip: for tests, it is no accelerator",
  },
};

/** The engine that was chosen. */
export function engineOf(options: Options): string | undefined {
  return options.flag("simulate") ? SIMULATED : options.text("engine");
}

/** Prints what each engine can do here. */
export function printEngines(asJson: boolean): void {
  const engines = listEngines();
  if (asJson) {
    print(JSON.stringify({ status: "completed", engines: engines.map(engineJson) }));
    return;
  }
  print(table([
    ["engine", "kind", "compresses", "decompresses", "version"],
    ...engines.map(({ name, kind, compresses, decompresses, version }) => [
      name,
      kind,
      compresses.join(" ") || "-",
      decompresses.join(" ") || "-",
      version ?? "not usable here",
    ]),
  ]));
  for (const { name, unavailable } of engines) {
    if (unavailable !== undefined) print(`${name}: ${unavailable}`);
  }
}

function engineJson(engine: EngineReport): Record<string, unknown> {
  return {
    name: engine.name,
    kind: engine.kind,
    version: engine.version ?? null,
    compresses: engine.compresses,
    decompresses: engine.decompresses,
    unavailable: engine.unavailable ?? null,
  };
}
