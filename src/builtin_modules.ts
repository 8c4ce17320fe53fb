/**
 * Modules of the runtime, loaded on first use: each takes 5 to 25 ms of a thread's start, the first
 * of them 13 under Deno. What a channel's worker always loads imports none.
 */
import type { default as BufferModule } from "node:buffer";
import type { default as Crypto } from "node:crypto";
import type { default as Fs } from "node:fs";
import type { default as Module } from "node:module";
import type { default as Net } from "node:net";
import type { default as Path } from "node:path";
import type { default as Process } from "node:process";
import type { default as Url } from "node:url";
import type { default as Zlib } from "node:zlib";

/** node:process. */
export function nodeProcess(): typeof Process {
  return (globalThis as unknown as { process: typeof Process }).process;
}

function lazy<Module>(name: string): () => Module {
  let module: Module | undefined;
  return () => module ??= nodeProcess().getBuiltinModule(name) as Module;
}

/** node:buffer: for comparisons of many bytes. */
export const nodeBuffer: () => typeof BufferModule = lazy("node:buffer");
/** node:crypto: for hashes. */
export const nodeCrypto: () => typeof Crypto = lazy("node:crypto");
/** node:fs, for what a channel's thread mostly does without. */
export const nodeFs: () => typeof Fs = lazy("node:fs");
/** node:module: for Bun's own FFI. */
export const nodeModule: () => typeof Module = lazy("node:module");
/** node:net: for the runtime's own sockets. */
export const nodeNet: () => typeof Net = lazy("node:net");
/** node:path, where it is not known yet where the shim is. */
export const nodePath: () => typeof Path = lazy("node:path");
/** node:url, for the same. */
export const nodeUrl: () => typeof Url = lazy("node:url");
/** node:zlib: for the engine that every runtime has. */
export const nodeZlib: () => typeof Zlib = lazy("node:zlib");
