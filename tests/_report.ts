/** Running test runners, and counting what their JUnit reports tell. */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { root, startTool } from "./_tools.ts";

/** As much as a pipe takes whole or not at all, in bytes. */
const PIPE_BUF = 4096;

/** Prints all of it, also where npx made stdout a pipe that does not wait for a slow reader. */
async function print(text: Uint8Array): Promise<void> {
  for (let at = 0; at < text.length;) {
    try {
      at += fs.writeSync(1, text.subarray(at, at + PIPE_BUF));
    } catch (error) {
      if ((error as { code?: string }).code !== "EAGAIN") throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

/** Reports of a run's test runners, in a folder of their own. */
export class Report {
  readonly #folder: string;
  readonly #skipped: string[] = [];
  #printed: Promise<void> = Promise.resolve();
  #passed = 0;
  #failed = 0;

  /** @param name The folder's name in `.reports/`; what it held is gone. */
  constructor(name: string) {
    this.#folder = path.join(root, ".reports", name);
    fs.rmSync(this.#folder, { recursive: true, force: true });
    fs.mkdirSync(this.#folder, { recursive: true });
  }

  /** The file that the runner of this name is to write its JUnit report to. */
  file(name: string): string {
    return path.join(this.#folder, `${name}.xml`);
  }

  /** Writes a module that imports test files, to be run as one. */
  moduleOf(name: string, files: string[]): string {
    const module = path.join(this.#folder, `${name}.ts`);
    const imports = files.map((file) => {
      const specifier = path.relative(this.#folder, path.join(root, file));
      return `import ${JSON.stringify(specifier)};\n`;
    });
    fs.writeFileSync(module, imports.join(""));
    return module;
  }

  /** Runs a test runner, shows what it said when it is through, and counts its cases. */
  async run(
    name: string,
    command: string,
    args: string[],
    env: Record<string, string> = {},
  ): Promise<void> {
    const output = path.join(this.#folder, `${name}.txt`);
    const all = { MULTIFD_TEST_DENO: process.execPath, ...env };
    const hasPassed = await startTool(command, args, all, output);
    // one after the other, though they end when they will
    this.#printed = this.#printed.then(() => print(fs.readFileSync(output)));
    await this.#printed;
    const failedBefore = this.#failed;
    this.#count(this.file(name));
    // a runner may also fail outside of any test case
    if (!hasPassed && this.#failed === failedBefore) this.#failed++;
  }

  /** Counts what failed without a test runner. */
  addFailures(count: number): void {
    this.#failed += count;
  }

  #count(file: string): void {
    const report = fs.existsSync(file) ? fs.readFileSync(file, "utf8") : "";
    const cases = report.split("<testcase ").slice(1);
    // a runner that crashed before it reported anything has not passed
    if (cases.length === 0) this.#failed++;
    for (const text of cases) {
      const name = /name="([^"]*)"/.exec(text)?.[1] ?? "?";
      if (/<(failure|error)\b/.test(text)) this.#failed++;
      else if (/<skipped\b/.test(text)) this.#skipped.push(name);
      else this.#passed++;
    }
  }

  /** Prints what is to be said and the sum, which is a run's last line; the exit code follows. */
  async close(...remarks: string[]): Promise<void> {
    const skipped = this.#skipped.length;
    const lines = [
      ...remarks,
      ...this.#skipped.map((name) => `skipped: ${name}`),
      `${this.#passed} passed, ${this.#failed} failed, ${skipped} skipped`,
    ];
    await print(new TextEncoder().encode(lines.map((line) => `${line}\n`).join("")));
    process.exitCode = this.#failed > 0 ? 1 : 0;
  }
}
