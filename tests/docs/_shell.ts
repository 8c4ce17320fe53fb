/** Runs a document's shell fence as a reader would: line by line, `&` in another terminal. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { root } from "../_tools.ts";

const TIMEOUT_MS = 120_000;

/** A folder with programs of the reader's, the first in PATH. */
export class Shell {
  /** Where the commands run. */
  readonly folder: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #background: { command: string; child: ChildProcess; ended: Promise<unknown> }[] = [];

  /**
   * @param folder An empty folder.
   * @param programs More programs, by name: what each name runs.
   */
  constructor(folder: string, programs: Record<string, readonly string[]> = {}) {
    this.folder = folder;
    const main = path.join(root, "src/cli/main.ts");
    const multifd = "Deno" in globalThis
      ? [process.execPath, "run", "-A", "--no-check", main]
      : [process.execPath, main];
    const bin = path.join(folder, "bin");
    fs.mkdirSync(bin);
    for (const [name, command] of Object.entries({ multifd, ...programs })) {
      const text = `#!/bin/sh\nexec ${command.join(" ")} "$@"\n`;
      fs.writeFileSync(path.join(bin, name), text, { mode: 0o755 });
    }
    this.#env = { ...process.env, PATH: `${bin}:${process.env.PATH}` };
  }

  /** Runs a fence; `\` at a line's end goes on with the next. */
  async run(text: string): Promise<void> {
    for (const line of text.replaceAll(/\\\n\s*/g, "").split("\n")) {
      const command = line.replace(/(^|\s)#.*$/, "").trim();
      if (command === "") continue;
      if (command.endsWith("&")) await this.#start(command.slice(0, -1));
      else if (command === "wait") await this.#wait();
      else this.#execute(command);
    }
  }

  #execute(command: string): void {
    const { status, stdout, stderr } = spawnSync("sh", ["-c", command], {
      cwd: this.folder,
      env: this.#env,
      encoding: "utf8",
      timeout: TIMEOUT_MS,
    });
    assert.equal(status, 0, `${command}\n${stdout}${stderr}`);
  }

  /** Starts a command; what listens is waited for until it does. */
  async #start(command: string): Promise<void> {
    const child = spawn("sh", ["-c", `exec ${command}`], {
      cwd: this.folder,
      env: this.#env,
      stdio: ["ignore", "ignore", "pipe"],
    });
    const ended = once(child, "close").then(([code]) => code);
    this.#background.push({ command, child, ended });
    let messages = "";
    const listening = new Promise<void>((resolve) => {
      child.stderr!.on("data", (chunk) => {
        messages += chunk;
        if (messages.includes("listening on")) resolve();
      });
    });
    const socket = /unix:([^,\s]+),server/.exec(command)?.[1];
    const ready = socket === undefined ? listening : this.#appears(socket);
    const code = await Promise.race([ready, ended]);
    assert.equal(code, undefined, `${command}\n${messages}`);
  }

  async #appears(file: string): Promise<void> {
    while (!fs.existsSync(path.join(this.folder, file))) await sleep(20);
  }

  async #wait(): Promise<void> {
    for (const { command, ended } of this.#background.splice(0)) {
      assert.equal(await ended, 0, command);
    }
  }

  /** Ends what still runs. */
  close(): void {
    for (const { child } of this.#background.splice(0)) child.kill("SIGKILL");
  }
}
