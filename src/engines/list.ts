/** All engines, with what each can do here or why it cannot. */
import { NATIVE_ENGINES, nativeEngine } from "../../ffi/engines.ts";
import { EngineUnavailableError } from "../errors.ts";
import { methodByName, methodNames } from "../methods/registry.ts";
import { builtin } from "./builtin.ts";
import type { CodecFormat, Engine } from "./engine.ts";

/** An engine as it is here. */
export interface EngineReport {
  /** Its name, as `engine` options take it. */
  name: string;
  /** What computes: an accelerator, a native library, or the runtime itself. */
  kind: "device" | "library" | "runtime";
  /** Its library's name and version; undefined where it cannot be loaded. */
  version: string | undefined;
  /** Methods it can compress. */
  compresses: string[];
  /** Methods it can decompress. */
  decompresses: string[];
  /** Why it cannot be used; undefined where it can. */
  unavailable: string | undefined;
}

const DEVICES: readonly string[] = ["iaa", "qat"];

/** Lists all engines, best first. Loads every shared object of the shim that there is. */
export function listEngines(): EngineReport[] {
  return [...NATIVE_ENGINES.map(reportOf), {
    ...describe(builtin),
    kind: "runtime",
    version: "node:zlib",
    unavailable: undefined,
  }];
}

function reportOf(name: string): EngineReport {
  const kind = DEVICES.includes(name) ? "device" : "library";
  try {
    const engine = nativeEngine(name);
    return { ...describe(engine), kind, version: engine.version, unavailable: undefined };
  } catch (error) {
    if (!(error instanceof EngineUnavailableError)) throw error;
    // what was tried is a list of its own
    const unavailable = error.message.split("\n")[0]!.replace(/ Tried:$/, "");
    return { name, kind, version: undefined, compresses: [], decompresses: [], unavailable };
  }
}

function describe({ name, encodes, decodes }: Engine) {
  const methods = (formats: readonly CodecFormat[]): string[] =>
    methodNames().filter((method) => {
      const { format } = methodByName(method)!;
      return format !== undefined && formats.includes(format);
    });
  return { name, compresses: methods(encodes), decompresses: methods(decodes) };
}
