/** The one place where an engine is chosen: the fastest software first, the runtime's own last. */
import { NATIVE_ENGINES, nativeEngine } from "../../ffi/engines.ts";
import { EngineUnavailableError } from "../errors.ts";
import type { Method } from "../methods/method.ts";
import { builtin } from "./builtin.ts";
import type { CodecFormat, Engine } from "./engine.ts";

/** Whether an engine must compress or decompress. */
export type EngineDirection = "encodes" | "decodes";

/** Names that `--engine` takes. */
export function engineNames(): string[] {
  return ["auto", ...NATIVE_ENGINES, builtin.name];
}

/**
 * Chooses the engine of a method, for one direction.
 *
 * @param method The method.
 * @param direction Whether it must compress or decompress.
 * @param wanted An engine's name, or `auto` for the best one here.
 * @returns The engine; undefined for a method that needs none.
 * @throws {EngineUnavailableError} If no such engine does that here; the message says why.
 */
export function selectEngine(
  method: Method,
  direction: EngineDirection,
  wanted = "auto",
): Engine | undefined {
  const { format } = method;
  if (format === undefined) return undefined;
  if (wanted === "auto") return bestEngine(method.name, format, direction);
  const engine = wanted === builtin.name ? builtin : namedEngine(wanted);
  if (engine[direction].includes(format)) return engine;
  const verb = direction === "encodes" ? "compress" : "decompress";
  throw new EngineUnavailableError(`Engine ${wanted} does not ${verb} method ${method.name}`);
}

function namedEngine(name: string): Engine {
  if (NATIVE_ENGINES.includes(name)) return nativeEngine(name);
  const names = engineNames().join(", ");
  throw new EngineUnavailableError(`Engine ${name} is unknown; there are: ${names}`);
}

function bestEngine(method: string, format: CodecFormat, direction: EngineDirection): Engine {
  for (const name of NATIVE_ENGINES) {
    try {
      const engine = nativeEngine(name);
      if (engine[direction].includes(format)) return engine;
    } catch (error) {
      // not here: the next one, and at last the runtime's own
      if (!(error instanceof EngineUnavailableError)) throw error;
    }
  }
  if (builtin[direction].includes(format)) return builtin;
  throw new EngineUnavailableError(`No engine here knows method ${method} (${format})`);
}
