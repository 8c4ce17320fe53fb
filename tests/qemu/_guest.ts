/** The guest of `guest.S`: its disk, and what it says. */
import { spawnSync } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";

const source = path.join(path.dirname(fileURLToPath(import.meta.url)), "guest.S");

/** Makes the guest's disk. */
export function buildGuest(disk: string): void {
  const object = `${disk}.o`;
  runTool("gcc", "-m32", "-c", "-o", object, source);
  runTool("ld", "-m", "elf_i386", "-Ttext=0x7c00", "--oformat", "binary", "-o", disk, object);
}

function runTool(command: string, ...args: string[]): void {
  const { error, status, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (error || status !== 0) throw new Error(`${command}: ${error?.message ?? stderr}`);
}

/**
 * Counts the rounds that a guest has told of, on one QEMU after the other.
 *
 * @throws {Error} If it found its memory changed, or left a round out, or did one again.
 */
export function countRounds(console: string): number {
  // it may have been stopped in the middle of its last line
  const lines = console.split("\n").slice(0, -1);
  for (const [i, line] of lines.entries()) {
    const expected = `ok ${(i + 1).toString(16).padStart(8, "0")}`;
    if (line !== expected) throw new Error(`Guest should say "${expected}": "${line}"`);
  }
  return lines.length;
}

/**
 * Where the guest was when it was saved, though it went on afterwards on its first QEMU, too:
 * what that had printed by then.
 *
 * @throws {Error} If the guest did not go on from there on the other QEMU.
 */
export function savedAt(first: string, second: string): string {
  const line = /^ok .*\n/m.exec(second)?.[0] ?? "";
  const end = first.indexOf(line) - second.indexOf(line);
  const before = first.slice(0, end);
  countRounds(before + second);
  return before;
}
