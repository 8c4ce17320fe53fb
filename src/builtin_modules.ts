/** Modules of the runtime, loaded on first use: each takes 5 to 25 ms of a thread's start. */
import type { default as Crypto } from "node:crypto";
import type { default as Fs } from "node:fs";
import type { default as Net } from "node:net";
import process from "node:process";
import type { default as Zlib } from "node:zlib";

function lazy<Module>(name: string): () => Module {
  let module: Module | undefined;
  return () => module ??= process.getBuiltinModule(name) as Module;
}

/** node:crypto: for hashes. */
export const nodeCrypto: () => typeof Crypto = lazy("node:crypto");
/** node:fs, for what a channel's thread mostly does without. */
export const nodeFs: () => typeof Fs = lazy("node:fs");
/** node:net: for the runtime's own sockets. */
export const nodeNet: () => typeof Net = lazy("node:net");
/** node:zlib: for the engine that every runtime has. */
export const nodeZlib: () => typeof Zlib = lazy("node:zlib");
