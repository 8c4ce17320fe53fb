/** Memory of another process: a program that keeps pages as a QEMU keeps its guest's. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ProcessMemory } from "../../src/advise/process_memory.ts";
import { takeSample } from "../../src/advise/sample.ts";
import { openSampled } from "../../src/advise/sources.ts";
import { ImageError } from "../../src/errors.ts";
import { temporaryDirectory } from "../migration/_migrate.ts";

const PAGE = 4096;
const PAGES = 1024;
const TOUCHED = 300;

/** Each of the first pages is filled with its number; the others are never touched. */
const PROGRAM = `
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void)
{
	unsigned char *ram = mmap(NULL, ${PAGES * PAGE}, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(ram, ${PAGES * PAGE}, MADV_DONTFORK);
	for (int i = 0; i < ${TOUCHED}; i++)
		memset(ram + (size_t)i * ${PAGE}, 1 + i % 250, ${PAGE});
	puts("ready");
	fflush(stdout);
	/* getchar() would take memory for a buffer, at any time after this */
	return (int)read(0, &(char){ 0 }, 1);
}
`;

function hasTools(): boolean {
  return fs.existsSync("/proc/self/smaps") && spawnSync("gcc", ["--version"]).status === 0;
}

const skip = hasTools() ? false : "there is no gcc, or no /proc/PID/smaps";

/** Runs with the program running. */
async function withProgram(run: (pid: number) => Promise<void> | void): Promise<void> {
  const directory = temporaryDirectory();
  const program = path.join(directory, "keeper");
  const compiled = spawnSync("gcc", ["-o", program, "-x", "c", "-"], { input: PROGRAM });
  assertEquals(compiled.status, 0, String(compiled.stderr));
  const child: ChildProcess = spawn(program, [], { stdio: ["pipe", "pipe", "inherit"] });
  try {
    await once(child.stdout!, "data");
    await run(child.pid!);
  } finally {
    child.kill();
    await once(child, "close");
    fs.rmSync(directory, { recursive: true });
  }
}

/** KiB of a process's memory that are in use. */
function resident(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/status`, "latin1"))![1]);
}

test(
  "ProcessMemory reads each page as it is, and touches none that was not",
  { skip },
  async () => {
    await withProgram((pid) => {
      const before = resident(pid);
      const memory = new ProcessMemory(pid);
      try {
        assertEquals(memory.blocks.map(({ usedLength }) => usedLength), [PAGES * PAGE]);
        const all = new Uint8Array(PAGES * PAGE).fill(255);
        memory.read(0, 0, all);
        for (let i = 0; i < PAGES; i++) {
          const page = all.subarray(i * PAGE, (i + 1) * PAGE);
          const expected = i < TOUCHED ? 1 + i % 250 : 0;
          assert(page.every((byte) => byte === expected), `page ${i}`);
        }
      } finally {
        memory.close();
      }
      assertEquals(resident(pid), before);
    });
  },
);

test("openSampled() takes a process as a source", { skip }, async () => {
  await withProgram(async (pid) => {
    const { kind, pages, close } = await openSampled({ pid });
    const sample = takeSample(pages, PAGE, 1e9, 1);
    close();
    assertEquals(kind, "process");
    assertEquals([sample.pages, sample.zeroPages], [PAGES, PAGES - TOUCHED]);
  });
});

test("ProcessMemory says what is wrong: no such process, or one that ended", { skip }, async () => {
  await assertRejects(
    () => openSampled({ pid: 2 ** 22 + 1 }),
    ImageError,
    "there is no such process",
  );
  let memory: ProcessMemory | undefined;
  await withProgram((pid) => {
    memory = new ProcessMemory(pid);
  });
  assertThrows(
    () => memory!.read(0, 0, new Uint8Array(PAGE)),
    ImageError,
    "Cannot read the memory",
  );
  memory!.close();
});

// permissions are Deno's
const denoTest = "Deno" in globalThis ? test : () => {};

denoTest("ProcessMemory says that Deno shows /proc with -A only", { skip }, () => {
  const module = new URL("../../src/advise/process_memory.ts", import.meta.url).href;
  const script = `import { ProcessMemory } from ${JSON.stringify(module)};
try { new ProcessMemory(${process.pid}); } catch (error) { console.log(error.message); }`;
  const { stdout } = spawnSync(process.execPath, ["run", "--allow-read", "-"], {
    input: script,
    encoding: "utf8",
  });
  assertEquals(
    stdout.trim(),
    `Cannot read the memory of process ${process.pid}: Deno shows /proc with -A only`,
  );
});
