/** Blocking sockets and files of the shim, opened on first use. */
import { EngineUnavailableError } from "../src/errors.ts";
import { findLibrary } from "./find.ts";
import type { NativeCalls } from "./open.ts";
import { IO_ABI, IO_SYMBOLS } from "./symbols.ts";

/** The functions of io.h. */
export type NativeIo = NativeCalls<typeof IO_SYMBOLS>;

let loaded: NativeIo | EngineUnavailableError | undefined;

/**
 * The shim's sockets and files, loaded once per thread.
 *
 * @throws {EngineUnavailableError} If they cannot be used here; the message says what to do.
 */
export function nativeIo(): NativeIo {
  loaded ??= load();
  if (loaded instanceof EngineUnavailableError) throw loaded;
  return loaded;
}

function load(): NativeIo | EngineUnavailableError {
  try {
    return findLibrary("io", IO_SYMBOLS, (calls) => calls.io_abi() === IO_ABI).calls;
  } catch (error) {
    if (error instanceof EngineUnavailableError) return error;
    throw error;
  }
}

/**
 * Opens functions that are about to be called: under Deno each takes time when it is first used.
 *
 * @param names Their names.
 * @throws {EngineUnavailableError} As {@linkcode nativeIo}.
 */
export function openCalls(names: readonly (keyof NativeIo)[]): void {
  const io = nativeIo();
  for (const name of names) void io[name];
}

/** A cache line: the kernel copies a third to a half slower to what starts inside of one. */
const ALIGNMENT = 64;

/** A buffer for large copies; Deno's own start 16 bytes into a page. */
export function alignedBytes(size: number): Uint8Array {
  const bytes = new Uint8Array(size + ALIGNMENT);
  const start = nativeIo().bytes_to_aligned(bytes, ALIGNMENT);
  return bytes.subarray(start, start + size);
}

/** Text as C takes it. */
export function cString(text: string): Uint8Array {
  return new TextEncoder().encode(`${text}\0`);
}

/** The name of a result below zero, e.g. `ENOSPC`. */
export function errorName(result: number): string {
  const text = new Uint8Array(32);
  nativeIo().io_error_name(-result, text, text.length);
  return new TextDecoder().decode(text.subarray(0, text.indexOf(0)));
}
