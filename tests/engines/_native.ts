/** The shim's engines as tests use them: a test of one that is not built is skipped and says so. */
import { test } from "node:test";
import { nativeEngine } from "../../ffi/engines.ts";
import { EngineUnavailableError } from "../../src/errors.ts";
import { builtin } from "../../src/engines/builtin.ts";
import { withFallback } from "../../src/engines/fallback.ts";
import type { Engine } from "../../src/engines/engine.ts";
import type { Method } from "../../src/methods/method.ts";
import { methodByName } from "../../src/methods/registry.ts";

/** The engines that know a method's format, in each direction; the first is the runtime's own. */
export interface MethodEngines {
  method: Method;
  encoders: readonly string[];
  decoders: readonly string[];
}

/** Each compressing method's engines, whether they are built here or not. */
export const METHODS: readonly MethodEngines[] = [
  { method: named("zlib"), encoders: ["builtin", "isal"], decoders: ["builtin", "isal"] },
  { method: named("zstd"), encoders: ["builtin", "zstd"], decoders: ["builtin", "zstd"] },
  {
    method: named("qpl"),
    encoders: ["builtin", "isal", "qpl", "iaa-simulated"],
    decoders: ["builtin", "libdeflate", "qpl", "iaa-simulated"],
  },
  { method: named("uadk"), encoders: ["builtin", "isal"], decoders: ["builtin", "libdeflate"] },
  {
    method: named("qatzip"),
    encoders: ["builtin", "isal", "qat-simulated"],
    decoders: ["builtin", "libdeflate", "qat-simulated"],
  },
];

/** Bun ends a test after 5 s unless told otherwise. */
const TIMEOUT = 120_000;

function named(name: string): Method {
  return methodByName(name)!;
}

/** Why an engine cannot be used here; undefined where it can. */
function whyNot(name: string): string | undefined {
  if (name === builtin.name) return undefined;
  try {
    nativeEngine(name);
    return undefined;
  } catch (error) {
    if (!(error instanceof EngineUnavailableError)) throw error;
    return `engine ${name} is not here: ${error.message.split("\n")[0]}`;
  }
}

/** An engine by name; a device comes with software behind it, as it does in a migration. */
export function engineNamed(name: string): Engine {
  if (name === builtin.name) return builtin;
  const engine = nativeEngine(name);
  return engine.isDevice === true ? withFallback(engine, builtin) : engine;
}

/** A test that needs engines, skipped with a reason where one is missing. */
export function testOf(
  engines: readonly string[],
  name: string,
  work: () => void | Promise<void>,
): void {
  const skip = engines.map(whyNot).find((reason) => reason !== undefined) ?? false;
  test(name, { skip, timeout: TIMEOUT }, work);
}

/** Options for the helpers in _pages.ts, whose ends of a channel then use this engine. */
export function using<O extends object>(engine: string, options: O): O {
  return { ...options, engine: engineNamed(engine) };
}
