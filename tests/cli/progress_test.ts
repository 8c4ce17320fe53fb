/** What is told of a migration while it runs: to a log, to a terminal, and to nobody. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { root } from "../_tools.ts";
import { temporaryDirectory } from "../migration/_migrate.ts";

/** Twelve seconds of a migration of 1 GiB, told twice a second. */
const program = `
import process from "node:process";
import { progressLine } from ${
  JSON.stringify(pathToFileURL(path.join(root, "src", "cli", "progress.ts")).href)
};
const onEvent = progressLine(process.argv[2] === "quiet");
for (let s = 0; s <= 12; s += 0.5) {
  const [pages, transferred] = [20000 * s, 32e6 * s];
  onEvent({ type: "progress", totalPages: 262144, pageSize: 4096, round: 1, pages, transferred,
    elapsed: s * 1000 });
}
onEvent({ type: "warning", message: "something is odd" });
`;

/** Runs it; what it wrote on stderr, or on a terminal of 60 columns. */
function told(how: "log" | "terminal", ...args: string[]): string {
  const directory = temporaryDirectory();
  try {
    const file = path.join(directory, "program.ts");
    fs.writeFileSync(file, program);
    const flags = "Deno" in globalThis ? ["run", "-A", "--no-check"] : [];
    const command = [process.execPath, ...flags, file, ...args];
    const [name, ...rest] = how === "log"
      ? command
      : ["script", "-qec", `stty cols 60; ${command.join(" ")}`, "/dev/null"];
    const { status, stdout, stderr } = spawnSync(name!, rest, { encoding: "utf8" });
    assertEquals(status, 0, stderr);
    if (how === "log") assertEquals(stdout, "");
    return how === "log" ? stderr : stdout;
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

test("progressLine() writes a plain line into a log every five seconds", () => {
  assertEquals(told("log").split("\n"), [
    "38% of 1.0 GiB, 82 MB/s, 153 MiB on the wire, ratio 2.6, round 1, 9 s left",
    "76% of 1.0 GiB, 82 MB/s, 305 MiB on the wire, ratio 2.6, round 1, 4 s left",
    "multifd: something is odd",
    "",
  ]);
});

test("progressLine() tells only what is odd where it shall be quiet", () => {
  assertEquals(told("log", "quiet"), "multifd: something is odd\n");
});

test("the command goes on when nobody reads its messages any more", () => {
  const flags = "Deno" in globalThis ? "run -A --no-check " : "";
  const main = `${process.execPath} ${flags}${path.join(root, "src", "cli", "main.ts")}`;
  const demo = `${main} demo --size 1M --method none --json`;
  const { status, stdout } = spawnSync("bash", ["-c", `${demo} 2> >(exec true)`], {
    encoding: "utf8",
  });
  assertEquals([status, JSON.parse(stdout).status], [0, "completed"]);
});

const skip = spawnSync("script", ["--version"]).error && "script is missing";

test("progressLine() keeps to one line of a terminal, which a message replaces", {
  skip: skip ?? false,
}, () => {
  const text = told("terminal");
  const shown = text.split("\r").map((part) => part.replace("\x1b[K", ""));
  const lines = shown.filter((part) => part.includes("%"));
  // of each half second but the first
  assertEquals(lines.length, 23);
  assertEquals(lines.at(-1), "91% of 1.0 GiB, 82 MB/s, 366 MiB on the wire, ratio 2.6, ro");
  for (const line of lines) assert(line.length < 60, line);
  assert(text.endsWith("\r\x1b[Kmultifd: something is odd\r\n"), JSON.stringify(text.slice(-60)));
  // no colours
  assertEquals(text.replaceAll("\x1b[K", "").includes("\x1b"), false);
});
