/** The one place where an engine is chosen: the fastest software first, the runtime's own last. */
import { enginesFor, NATIVE_ENGINES, nativeEngine, SIMULATED_ENGINES } from "../../ffi/engines.ts";
import { EngineUnavailableError } from "../errors.ts";
import type { Method } from "../methods/method.ts";
import { builtin } from "./builtin.ts";
import type { CodecFormat, Engine } from "./engine.ts";
import { withFallback } from "./fallback.ts";

/** Whether an engine must compress or decompress. */
export type EngineDirection = "encodes" | "decodes";

/** Names that `--engine` takes. */
export function engineNames(): string[] {
  return ["auto", ...NATIVE_ENGINES, builtin.name];
}

/** Chooses among the simulated devices: for tests, and for trying out. */
export const SIMULATED = "simulated";

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
  const engine = wanted === "auto"
    ? bestEngine(method, format, direction, true)
    : namedEngine(wanted, format);
  if (!engine[direction].includes(format)) {
    const verb = direction === "encodes" ? "compress" : "decompress";
    throw new EngineUnavailableError(`Engine ${wanted} does not ${verb} method ${method.name}`);
  }
  if (engine.isDevice !== true) return engine;
  return withFallback(engine, softwareEngine(method, direction)!);
}

/**
 * The fastest software engine of a method, for one direction.
 *
 * @param method The method.
 * @param direction Whether it must compress or decompress.
 * @returns The engine; undefined for a method that needs none.
 */
export function softwareEngine(method: Method, direction: EngineDirection): Engine | undefined {
  const { format } = method;
  if (format === undefined) return undefined;
  return bestEngine(method, format, direction, false);
}

function namedEngine(wanted: string, format: CodecFormat): Engine {
  if (wanted === builtin.name) return builtin;
  const name = wanted === SIMULATED ? enginesFor(format, true)[0]?.name : wanted;
  if (name === undefined) {
    throw new EngineUnavailableError("No simulated device knows the method: only qpl and qatzip");
  }
  if (NATIVE_ENGINES.includes(name) || SIMULATED_ENGINES.includes(name)) return nativeEngine(name);
  const names = engineNames().join(", ");
  throw new EngineUnavailableError(`Engine ${name} is unknown; there are: ${names}`);
}

function bestEngine(
  method: Method,
  format: CodecFormat,
  direction: EngineDirection,
  mayBeDevice: boolean,
): Engine {
  for (const { name, isDevice } of enginesFor(format, false)) {
    if (isDevice === true && !mayBeDevice) continue;
    try {
      const engine = nativeEngine(name);
      if (engine[direction].includes(format)) return engine;
    } catch (error) {
      // not here: the next one, and at last the runtime's own
      if (!(error instanceof EngineUnavailableError)) throw error;
    }
  }
  if (builtin[direction].includes(format)) return builtin;
  throw new EngineUnavailableError(`No engine here knows method ${method.name} (${format})`);
}
