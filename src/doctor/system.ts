/**
 * What the doctor sees of a machine. `this_system.ts` looks at the real one, tests make
 * others up; everything that judges sees nothing else.
 *
 * @module
 */
import type { CodecFormat } from "../engines/engine.ts";

/** What opening a device node for reading and writing gives. */
export type Access = "read-write" | "busy" | "denied" | "missing" | "broken";

/** What asking for an engine gives: the engine, or why there is none. */
export type Probe =
  | {
    readonly works: true;
    /** The engine's own name: a simulated device says so in it. */
    readonly name: string;
    /** Its library and version. */
    readonly version: string;
    /** Its shared object; undefined for the runtime's own engine. */
    readonly file: string | undefined;
    /** The formats it compresses. */
    readonly encodes: readonly CodecFormat[];
    /** The formats it decompresses. */
    readonly decodes: readonly CodecFormat[];
  }
  | {
    readonly works: false;
    /** Why, and often what to do. */
    readonly why: string;
    /** The library's own name for it. */
    readonly status: string | undefined;
  };

/** An engine that was chosen. */
export interface Chosen {
  /** Its name. */
  readonly name: string;
  /** Whether a device computes, real or simulated. */
  readonly isDevice: boolean;
}

/** The engines of a method: undefined where none is needed, or none is there. */
export interface Choice {
  /** Compresses. */
  readonly encodes: Chosen | undefined;
  /** Decompresses. */
  readonly decodes: Chosen | undefined;
}

/** A machine, as much as may be seen of it. Whatever may not is as if it were not there. */
export interface System {
  /** The runtime and its version, e.g. `Deno 2.9.6`. */
  readonly runtime: string;
  /** E.g. `linux`. */
  readonly platform: string;
  /** E.g. `x64`. */
  readonly architecture: string;
  /** The flags that Deno was not given and that looking needs; empty where all may be seen. */
  readonly lacks: readonly string[];
  /** The command that runs doctor where Deno allows everything. */
  readonly doctorCommand: string;
  /** The command that builds the shim. */
  readonly buildCommand: string;
  /** The command that fetches the accelerators' libraries; undefined where it cannot. */
  readonly fetchCommand: string | undefined;
  /** Where the shim's shared objects are looked for, in order. */
  readonly shimDirectories: readonly string[];
  /** Where the loader looks for libraries before it looks where it always does. */
  readonly libraryPath: readonly string[];
  /** The kernel's release, e.g. `6.1.0-30-amd64`. */
  kernelRelease(): string | undefined;
  /** Most bytes that this process may lock in memory; `Infinity` for no limit. */
  memlock(): number | undefined;
  /** A text file; undefined where there is none. */
  readText(path: string): string | undefined;
  /** Names in a directory; undefined where there is none. */
  list(path: string): readonly string[] | undefined;
  /** The last part of what a symbolic link leads to; undefined where there is none. */
  linkName(path: string): string | undefined;
  /** Opens a device node for reading and writing, and closes it. */
  access(path: string): Access;
  /** Asks for an engine. */
  probe(engine: string): Probe;
  /** Asks what is chosen for a method. */
  choose(method: string, wanted: string): Choice;
}
