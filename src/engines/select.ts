/** The one place where an engine is chosen. */
import { EngineUnavailableError } from "../errors.ts";
import type { Method } from "../methods/method.ts";
import { builtin } from "./builtin.ts";
import type { Engine } from "./engine.ts";

/** The engines there are, best first. */
const engines: readonly Engine[] = [builtin];

/** Names that `--engine` takes. */
export function engineNames(): string[] {
  return ["auto", ...engines.map((engine) => engine.name)];
}

/**
 * Chooses the engine of a method, for one direction.
 *
 * @param method The method.
 * @param direction Whether it must compress or decompress.
 * @param wanted An engine's name, or `auto` for the best one here.
 * @returns The engine; undefined for a method that needs none.
 * @throws {EngineUnavailableError} If no such engine computes the method's format here.
 */
export function selectEngine(
  method: Method,
  direction: "encodes" | "decodes",
  wanted = "auto",
): Engine | undefined {
  const { format } = method;
  if (format === undefined) return undefined;
  for (const engine of engines) {
    if (wanted !== "auto" && wanted !== engine.name) continue;
    if (engine[direction].includes(format)) return engine;
  }
  const names = engineNames().join(", ");
  throw new EngineUnavailableError(
    `Engine ${wanted} cannot ${direction.slice(0, -1)} method ${method.name}; there are: ${names}`,
  );
}
