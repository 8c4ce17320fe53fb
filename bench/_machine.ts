/** The machine that was measured: what a figure means nothing without. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import process from "node:process";
import { listEngines } from "../src/engines/list.ts";
import { multifd, RUNTIMES } from "./_process.ts";

/** A machine and what runs on it. */
export interface Machine {
  date: string;
  cpu: string;
  cores: number;
  /** Bytes. */
  memory: number;
  system: string;
  /** Versions of the runtimes, of the engines' libraries, and of what else is measured. */
  versions: Record<string, string>;
}

function systemName(): string {
  const file = "/etc/os-release";
  const text = fs.existsSync(file) ? fs.readFileSync(file, "utf8") : "";
  const name = /^PRETTY_NAME="?([^"\n]*)/m.exec(text)?.[1] ?? os.platform();
  return `${name}, ${os.type()} ${os.release()}, ${process.arch}`;
}

function runtimeVersion(runtime: string): string | undefined {
  const { stdout } = spawnSync(multifd(runtime)[0]!, ["--version"], { encoding: "utf8" });
  return /\d+\.\d+\.\d+/.exec(stdout ?? "")?.[0];
}

/** Describes this machine. */
export function describeMachine(): Machine {
  const versions: Record<string, string> = {};
  for (const runtime of RUNTIMES) versions[runtime] = runtimeVersion(runtime) ?? "missing";
  for (const { name, version } of listEngines()) {
    if (version !== undefined) versions[`engine ${name}`] = version;
  }
  return {
    date: new Date().toISOString(),
    cpu: os.cpus()[0]!.model,
    cores: os.cpus().length,
    memory: os.totalmem(),
    system: systemName(),
    versions,
  };
}
