/** What `multifd completion` prints, asked in the shells themselves. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { temporaryDirectory } from "../migration/_migrate.ts";
import { here, run } from "./_command.ts";

const ALL_METHODS = ["none", "qatzip", "qpl", "uadk", "zlib", "zstd"];

/** What is typed, and what the shell offers in a directory with guest.ram and vm/. */
const CASES: [typed: string, offered: string[]][] = [
  ["multifd se", ["send"]],
  ["multifd send --meth", ["--method"]],
  ["multifd send --method ", ALL_METHODS],
  ["multifd send --method z", ["zlib", "zstd"]],
  ["multifd send gu", ["guest.ram"]],
  ["multifd recv --out gu", ["guest.ram"]],
  ["multifd recv --listen gu", []],
  ["multifd advise gu", ["guest.ram"]],
  ["multifd doctor --require ", ["qatzip", "qpl"]],
  ["multifd doctor --meth", []],
  ["multifd completion ", ["bash", "fish", "zsh"]],
];

/** Why a shell cannot be asked; false where it can. */
function missing(shell: string): string | false {
  return spawnSync(shell, ["--version"]).error ? `${shell} is missing` : false;
}

/** Once is enough: a script is the same text under every runtime. */
function once(name: string, options: { skip: string | false }, run: () => Promise<void>): void {
  if (here === "bun") test(name, options, run);
}

/** Gives a script to a shell, in a directory with an image and a received VM. */
async function inShell(
  shell: "bash" | "zsh" | "fish",
  ask: (source: string, run: (code: string) => string) => void,
): Promise<void> {
  const { code, stdout, stderr } = await run(here, ["completion", shell, "--json"]);
  assertEquals(code, 0, stderr);
  const completion = JSON.parse(stdout);
  assertEquals([completion.status, completion.shell], ["completed", shell]);
  const directory = temporaryDirectory();
  try {
    fs.writeFileSync(path.join(directory, "guest.ram"), "");
    fs.mkdirSync(path.join(directory, "vm"));
    const script = path.join(temporaryDirectory(), "script");
    fs.writeFileSync(script, completion.script);
    ask(`source ${script}`, (code) => {
      const ended = spawnSync(shell, ["-c", code], { cwd: directory, encoding: "utf8" });
      assertEquals([ended.status, ended.stderr], [0, ""], code);
      return ended.stdout;
    });
    fs.rmSync(path.dirname(script), { recursive: true });
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

/** bash gives words, and takes them back: it cannot be asked for what it would show. */
function askBash(source: string, typed: string): string {
  const words = typed.match(/=$|[^ =]+|=|(?<= )$/g)!;
  const quoted = words.map((word) => `'${word}'`).join(" ");
  return `${source}; COMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}; ` +
    'complete -p multifd >/dev/null && _multifd; printf "%s\\n" "${COMPREPLY[@]}"';
}

const lines = (text: string): string[] => text.split("\n").filter((line) => line !== "").sort();

test(
  "multifd completion bash completes in bash",
  { skip: missing("bash") },
  () =>
    inShell("bash", (source, run) => {
      for (const [typed, offered] of CASES) {
        assertEquals(lines(run(askBash(source, typed))), offered, typed);
      }
      assertEquals(lines(run(askBash(source, "multifd send --method="))), ALL_METHODS);
      assertEquals(lines(run(askBash(source, "multifd recv vm --method=q"))), ["qatzip", "qpl"]);
    }),
);

once(
  "multifd completion bash knows every option of every verb",
  { skip: missing("bash") },
  async () => {
    const { stdout } = await run(here, ["--help"]);
    const verbs = [...stdout.matchAll(/^ {2}([a-z]+) {1,}[A-Z]/gm)].map(([, verb]) => verb!);
    assert(verbs.length > 5);
    const helps = await Promise.all(verbs.map((verb) => run(here, [verb, "--help"])));
    await inShell("bash", (source, run) => {
      assertEquals(lines(run(askBash(source, "multifd "))), verbs.sort());
      for (const { stdout: help } of helps) {
        const verb = /^Usage: multifd (\w+)/m.exec(help)![1];
        const options = [...help.matchAll(/^ {2}(--[a-z-]+)/gm)].map(([, option]) => option!);
        assertEquals(lines(run(askBash(source, `multifd ${verb} --`))), options.sort(), verb);
      }
    });
  },
);

once(
  "multifd completion fish completes in fish",
  { skip: missing("fish") },
  () =>
    inShell("fish", (source, run) => {
      for (const [typed, offered] of CASES) {
        const shown = run(`${source}; complete -C '${typed}'`).replaceAll(/\t.*$/gm, "");
        assertEquals(lines(shown), offered, typed);
      }
    }),
);

once(
  "multifd completion zsh is taken by zsh's completion",
  { skip: missing("zsh") },
  () =>
    inShell("zsh", (source, run) => {
      const set = "autoload -U compinit; compinit -D -u";
      assertEquals(run(`${set}; ${source}; print $_comps[multifd]`), "_multifd\n");
      // what is passed to zsh's own functions
      const ask = "_arguments() { print -rl -- $@ }; words=(multifd send ''); CURRENT=3; _multifd";
      assertStringIncludes(
        run(`${set}; ${source}; ${ask}`),
        "\n--method=[compression method (default zstd)]:METHOD:(none zlib zstd qpl uadk qatzip)\n",
      );
    }),
);

test("multifd completion refuses a shell it does not know", async () => {
  const { code, stdout, stderr } = await run(here, ["completion", "fihs"]);
  assertEquals([code, stdout], [2, ""]);
  assertStringIncludes(stderr, 'Shell fihs is unknown, did you mean "fish"?');
});
