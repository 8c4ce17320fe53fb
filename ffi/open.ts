/** Opening a shared object, under Deno or under Bun: the one place that touches their FFI. */
import { nodeModule } from "../src/builtin_modules.ts";
import { EngineUnavailableError } from "../src/errors.ts";
import type { NativeSymbols, NativeType } from "./symbols.ts";

/** What a native type is in JavaScript. */
type Value<T extends NativeType> = T extends "u64" | "i64" ? bigint
  : T extends "buffer" ? Uint8Array | Int32Array | Uint32Array | Float64Array | BigInt64Array | null
  : T extends "void" ? void
  : number;

type Values<P extends readonly NativeType[]> = { -readonly [I in keyof P]: Value<P[I]> };

/** The functions of an opened shared object. */
export type NativeCalls<S extends NativeSymbols> = {
  [Name in keyof S]: (...args: Values<S[Name]["parameters"]>) => Value<S[Name]["result"]>;
};

/** As much of Deno as is used here; its types are not Bun's. */
interface DenoRuntime {
  dlopen(path: string, symbols: NativeSymbols): { symbols: Record<string, unknown> };
  permissions: { querySync(what: { name: "ffi"; path: string }): { state: string } };
}

/** As much of bun:ffi as is used here. */
interface BunFfi {
  dlopen(
    path: string,
    symbols: Record<string, { args: string[]; returns: string }>,
  ): { symbols: unknown };
}

const deno = (globalThis as { Deno?: DenoRuntime }).Deno;

/**
 * Opens a shared object.
 *
 * @param path Its file.
 * @param symbols Its functions.
 * @returns The functions.
 * @throws {EngineUnavailableError} If it cannot be opened here; the message says why.
 */
export function openLibrary<S extends NativeSymbols>(path: string, symbols: S): NativeCalls<S> {
  try {
    if (deno !== undefined) return openWithDeno(deno, path, symbols) as NativeCalls<S>;
    if ("Bun" in globalThis) return openWithBun(path, symbols) as NativeCalls<S>;
  } catch (error) {
    if (error instanceof EngineUnavailableError) throw error;
    const why = (error as Error).message.replaceAll("\n", " ");
    throw new EngineUnavailableError(`Cannot open ${path}: ${why}`, {}, { cause: error });
  }
  throw new EngineUnavailableError(`Cannot open ${path}: this runtime has no FFI that is known`);
}

function openWithDeno(deno: DenoRuntime, path: string, symbols: NativeSymbols): unknown {
  // never a prompt: native code is an offer, and everything works without it
  if (deno.permissions.querySync({ name: "ffi", path }).state !== "granted") {
    throw new EngineUnavailableError(`Cannot open ${path}: it needs --allow-ffi=${path}`);
  }
  // what is no shared object is found at once; a function when it is first used
  deno.dlopen(path, {});
  const unopened = {};
  const calls = Object.create(unopened);
  for (const name of Object.keys(symbols)) {
    // Deno compiles a function when it opens it: a quarter of a millisecond each, in each thread
    const get = (): unknown => {
      const value = deno.dlopen(path, { [name]: symbols[name]! }).symbols[name];
      // in front of this getter: one that is replaced makes all of the object slow
      Object.defineProperty(calls, name, { value });
      return value;
    };
    Object.defineProperty(unopened, name, { get });
  }
  return calls;
}

const BUN_TYPES: Record<NativeType, string> = {
  i32: "i32",
  u32: "u32",
  i64: "i64",
  u64: "u64",
  f64: "f64",
  buffer: "ptr",
  void: "void",
};

function openWithBun(path: string, symbols: NativeSymbols): unknown {
  // not an import: no other runtime could resolve it
  const { dlopen } = nodeModule().createRequire(import.meta.url)("bun:ffi") as BunFfi;
  const rendered = Object.entries(symbols).map(([name, { parameters, result }]) => [
    name,
    { args: parameters.map((type) => BUN_TYPES[type]), returns: BUN_TYPES[result] },
  ]);
  return dlopen(path, Object.fromEntries(rendered)).symbols;
}
