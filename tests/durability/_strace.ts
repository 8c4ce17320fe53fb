/** System calls of a command: shown, or made to fail, by strace. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";

/** Calls that bring something to disk or to the peer, and those that name things. */
const CALLS = [
  ...["write", "writev", "pwrite64", "pwritev", "pwritev2", "sendto", "sendmsg"],
  ...["open", "openat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "link", "linkat"],
  ...["fsync", "fdatasync"],
];

function whyNot(): string | false {
  const { status, stderr, error } = spawnSync("strace", [
    "-f",
    "--seccomp-bpf",
    "-o",
    "/dev/null",
    "true",
  ], {
    encoding: "utf8",
  });
  return status === 0 ? false : `strace cannot trace here: ${error?.message ?? stderr}`;
}

/** Why strace cannot be used here; false if it can. */
export const skip: string | false = whyNot();

/** A system call; line numbers of the trace tell what was before what. */
export interface Call {
  name: string;
  /** Its arguments as strace shows them, strings and names of files in hex. */
  args: string;
  /** Where it was entered. */
  start: number;
  /** Where it had returned. */
  end: number;
  hasFailed: boolean;
}

/** What a command is started under, to write a trace into a file. */
export function tracing(file: string): string[] {
  const show = ["-y", "-xx", "-s", "16", "-e", `trace=${CALLS.join(",")}`];
  return ["strace", "-f", "--seccomp-bpf", ...show, "-o", file];
}

/**
 * What a command is started under, to have calls fail that concern a path.
 *
 * @param calls Names of system calls, joined by commas.
 * @param error The error's name, and what else strace is to do.
 * @param path The path; `$$` in it is the number of the command's process.
 * @param file A file that gets the trace.
 */
export function failing(calls: string, error: string, path: string, file = "/dev/null"): string[] {
  // -D keeps the command the process that the shell was
  const strace = `exec strace -D -f -qq -o "${file}" -P "${path}" -e trace=${calls}`;
  return ["sh", "-c", `${strace} -e inject=${calls}:error=${error} "$@"`, "sh"];
}

/** Reads a trace; a call that another thread interrupted in it takes two lines. */
export function readTrace(file: string): Call[] {
  const calls: Call[] = [];
  const open = new Map<string, Call>();
  for (const [i, line] of fs.readFileSync(file, "latin1").split("\n").entries()) {
    const resumed = /^(\d+) +<\.\.\. \w+ resumed>(.*) = (\S+)/.exec(line);
    if (resumed !== null) {
      const call = open.get(resumed[1]!);
      if (call === undefined) continue;
      call.args += resumed[2]!;
      call.end = i;
      call.hasFailed = resumed[3]!.startsWith("-");
      continue;
    }
    const [, thread, name, rest] = /^(\d+) +(\w+)\((.*)$/.exec(line) ?? [];
    if (rest === undefined) continue;
    const [, args, result] = /^(.*)\) += (\S+)/.exec(rest) ?? [];
    const hasFailed = result?.startsWith("-") ?? true;
    const call = { name: name!, args: args ?? rest, start: i, end: args ? i : Infinity, hasFailed };
    calls.push(call);
    if (args === undefined) open.set(thread!, call);
  }
  return calls;
}

function decode(hex: string): string {
  return hex.replace(
    /\\x([0-9a-f]{2})/g,
    (_, byte: string) => String.fromCharCode(parseInt(byte, 16)),
  );
}

/** The strings among a call's arguments. */
export function stringsOf({ args }: Call): string[] {
  return [...args.matchAll(/"((?:\\x[0-9a-f]{2})*)"/g)].map(([, hex]) => decode(hex!));
}

/** The path of the file that a call's first argument is the descriptor of. */
export function fileOf({ args }: Call): string | undefined {
  const hex = /^\d+<((?:\\x[0-9a-f]{2})*)>/.exec(args)?.[1];
  return hex === undefined ? undefined : decode(hex);
}
