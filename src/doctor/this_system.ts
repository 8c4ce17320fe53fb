/** The machine this runs on. It asks nobody for permission: what Deno does not allow is not seen. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { nativeEngine } from "../../ffi/engines.ts";
import { buildCommand, moduleDirectory, shimDirectories } from "../../ffi/find.ts";
import { builtin } from "../engines/builtin.ts";
import { selectEngine } from "../engines/select.ts";
import { EngineUnavailableError } from "../errors.ts";
import { methodByName } from "../methods/registry.ts";
import { parseMemlock } from "./machine.ts";
import type { Access, Choice, Probe, System } from "./system.ts";

interface DenoRuntime {
  version: { deno: string };
  permissions: {
    querySync(what: { name: string; path?: string; variable?: string }): { state: string };
  };
}

/** The permissions that looking needs, by flag. */
const FLAGS: readonly (readonly [flag: string, name: string])[] = [
  ["--allow-read", "read"],
  ["--allow-write", "write"],
  ["--allow-env", "env"],
  ["--allow-sys", "sys"],
  ["--allow-ffi", "ffi"],
];
/** Deno opens it only with -A, whatever else is allowed. */
const SPECIAL_FILE = "/proc/self/limits";

function deno(): DenoRuntime | undefined {
  return (globalThis as { Deno?: DenoRuntime }).Deno;
}

/** Whether Deno allows something, without asking anyone. */
function isGranted(what: { name: string; path?: string; variable?: string }): boolean {
  const state = deno()?.permissions.querySync(what).state ?? "granted";
  return state === "granted";
}

/** What a look gives; undefined where there is nothing, or where it is not allowed. */
function look<T>(file: string, read: () => T): T | undefined {
  if (!isGranted({ name: "read", path: file })) return undefined;
  try {
    return read();
  } catch {
    return undefined;
  }
}

function lackingFlags(): string[] {
  const lacks = FLAGS.filter(([, name]) => !isGranted({ name })).map(([flag]) => flag);
  if (lacks.length > 0 || deno() === undefined || process.platform !== "linux") return lacks;
  try {
    fs.closeSync(fs.openSync(SPECIAL_FILE, "r"));
    return [];
  } catch (error) {
    return (error as Error).name === "NotCapable" ? ["-A"] : [];
  }
}

function runtime(): string {
  const version = deno()?.version.deno;
  if (version !== undefined) return `Deno ${version}`;
  const { bun, node } = process.versions;
  return bun === undefined ? `Node.js ${node}` : `Bun ${bun}`;
}

/** By opening it: Deno's access() knows nothing of groups. */
function access(node: string): Access {
  if (!isGranted({ name: "read", path: node }) || !isGranted({ name: "write", path: node })) {
    return "denied";
  }
  try {
    fs.closeSync(fs.openSync(node, "r+"));
    return "read-write";
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === "EBUSY") return "busy";
    if (code === "ENOENT") return "missing";
    return code === "EACCES" || code === "EPERM" ? "denied" : "broken";
  }
}

function probe(name: string): Probe {
  if (name === builtin.name) {
    const version = `node:zlib of ${runtime()}`;
    const { encodes, decodes } = builtin;
    return { works: true, name, version, file: undefined, encodes, decodes };
  }
  try {
    const { name: itself, version, file, encodes, decodes } = nativeEngine(name);
    return { works: true, name: itself, version, file, encodes, decodes };
  } catch (error) {
    if (!(error instanceof EngineUnavailableError)) throw error;
    return { works: false, why: error.message, status: error.facts.code };
  }
}

function choose(method: string, wanted: string): Choice {
  const choice = (direction: "encodes" | "decodes"): Choice["encodes"] => {
    try {
      const engine = selectEngine(methodByName(method)!, direction, wanted);
      return engine && { name: engine.name, isDevice: engine.isDevice === true };
    } catch (error) {
      if (error instanceof EngineUnavailableError) return undefined;
      throw error;
    }
  };
  return { encodes: choice("encodes"), decodes: choice("decodes") };
}

/** The command that runs doctor with all permissions, from wherever this came. */
function doctorCommand(): string {
  const script = new URL("../cli/main.ts", import.meta.url);
  const name = script.protocol === "file:" ? fileURLToPath(script) : script.href;
  return `deno run -A ${name} doctor`;
}

/** The command beside the one that builds; only a clone has it, and a folder to fetch into. */
function fetchCommand(): string | undefined {
  const directory = moduleDirectory();
  if (directory === undefined) return undefined;
  const script = path.resolve(directory, "..", "fetch_accelerators.ts");
  if (look(script, () => fs.statSync(script)) === undefined) return undefined;
  return buildCommand().replace("build:native", "fetch:accelerators")
    .replace(/build\.ts$/, "fetch_accelerators.ts");
}

/** The machine this runs on. */
export function thisSystem(): System {
  const variable = "LD_LIBRARY_PATH";
  const libraryPath = isGranted({ name: "env", variable }) ? process.env[variable] ?? "" : "";
  const readText = (file: string): string | undefined =>
    look(file, () => fs.readFileSync(file, "utf8"));
  return {
    runtime: runtime(),
    platform: process.platform,
    architecture: process.arch,
    lacks: lackingFlags(),
    doctorCommand: doctorCommand(),
    buildCommand: buildCommand(),
    fetchCommand: fetchCommand(),
    shimDirectories: [...shimDirectories()],
    libraryPath: libraryPath.split(":").filter((directory) => directory !== ""),
    kernelRelease: () => isGranted({ name: "sys" }) ? os.release() : undefined,
    memlock: () => parseMemlock(readText(SPECIAL_FILE) ?? ""),
    readText,
    list: (directory) => look(directory, () => fs.readdirSync(directory)),
    linkName: (link) => look(link, () => path.basename(fs.readlinkSync(link))),
    access,
    probe,
    choose,
  };
}
