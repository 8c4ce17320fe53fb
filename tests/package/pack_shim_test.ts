/** The npm package of the shim: what it asks of a machine, and that a project's migrations use it. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { shimPackage } from "../../ffi/find.ts";
import { neededLibraries, OBJECTS, tooNewSymbols } from "../../packaging/_shim.ts";
import { packShim } from "../../packaging/pack_shim.ts";
import { copyPackage, migration, run, servePackage } from "../ffi/_package.ts";
import { temporaryDirectory } from "../migration/_migrate.ts";
import { whyNotPackaged } from "./_shim.ts";

const skip = whyNotPackaged() ?? (spawnSync("npm", ["--version"]).error && "npm is missing") ??
  false;
const options = { skip, timeout: 120_000 };

const made = temporaryDirectory();
after(() => fs.rmSync(made, { recursive: true }));
let archive: string | undefined;

/** Installs the package, which is made once, into an empty project, without a network. */
async function withProject(
  work: (project: { directory: string; installed: string }) => Promise<void> | void,
): Promise<void> {
  const directory = fs.realpathSync(temporaryDirectory());
  try {
    archive ??= packShim(path.join(made, "dist"));
    const project = path.join(directory, "project");
    fs.mkdirSync(project);
    fs.writeFileSync(path.join(project, "package.json"), '{ "private": true }\n');
    const install = ["install", "--offline", "--no-audit", "--no-fund", archive];
    const { status, stderr } = spawnSync("npm", install, { cwd: project, encoding: "utf8" });
    assertEquals(status, 0, stderr);
    const installed = path.join(project, "node_modules", shimPackage());
    await work({ directory: project, installed });
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

// what is in it is no matter of the runtime
if ("Deno" in globalThis) {
  test(
    "pack:shim's package brings its libraries with their licences, for an old glibc",
    options,
    () =>
      withProject(({ installed }) => {
        const files = fs.readdirSync(installed).filter((name) => /\.so(\.|$)/.test(name));
        for (const name of OBJECTS) assert(files.includes(`${name}.so`), name);
        const libraries = files.filter((name) => !name.endsWith(".so"));
        const needed = new Set<string>();
        for (const name of files) {
          const file = path.join(installed, name);
          for (const library of neededLibraries(file)) needed.add(library);
          assertEquals(tooNewSymbols(file), []);
        }
        assertEquals([...needed].sort(), libraries.sort());
        assertEquals(libraries.length, 3);
        const licences = libraries.map((name) => [name, `licences/${name}.txt`]);
        for (const [name, licence] of [...licences, ["multifd", "licences/multifd.txt"]]) {
          const text = fs.readFileSync(path.join(installed, licence!), "utf8");
          assert(/copyright/i.test(text) && text.length > 500, name);
        }
        // they load one another, not the system's
        for (const name of OBJECTS) {
          const { stdout } = spawnSync("ldd", [path.join(installed, `${name}.so`)], {
            encoding: "utf8",
          });
          for (const library of neededLibraries(path.join(installed, `${name}.so`))) {
            assert(stdout.includes(`${library} => ${path.join(installed, library)} `), stdout);
          }
        }
      }),
  );
}

/** Whether an object that needs glibc 2.36 can be made here. */
function hasNewGlibc(): boolean {
  const { stdout } = spawnSync("getconf", ["GNU_LIBC_VERSION"], { encoding: "utf8" });
  return Number(/^glibc 2\.(\d+)/.exec(stdout ?? "")?.[1] ?? 0) >= 36;
}

test("tooNewSymbols() names what an older glibc does not have", {
  skip: skip || !hasNewGlibc() && "glibc here is older than 2.36",
}, () => {
  const directory = temporaryDirectory();
  const object = path.join(directory, "new.so");
  const input = "void arc4random_buf(void *, unsigned long);\n" +
    "void fill(char *to) { arc4random_buf(to, 8); }\n";
  const build = ["-shared", "-fPIC", "-x", "c", "-o", object, "-"];
  assertEquals(spawnSync("cc", build, { input }).status, 0);
  assertEquals(tooNewSymbols(object), ["arc4random_buf (GLIBC_2.36)"]);
  assertThrows(() => tooNewSymbols(path.join(directory, "missing.so")), Error, "missing.so");
  fs.rmSync(directory, { recursive: true });
});

test(
  "a project that installs the package migrates natively",
  options,
  () =>
    withProject(async ({ directory }) => {
      const script = path.join(directory, "script.ts");
      const native = { code: 0, stdout: "native zstd true\n", stderr: "" };
      if (!("Deno" in globalThis)) {
        copyPackage(directory);
        fs.writeFileSync(script, migration("@multifd/multifd"));
        assertEquals(await run(process.execPath, ["script.ts"], { cwd: directory }), native);
        return;
      }
      const { host, close } = await servePackage();
      try {
        fs.writeFileSync(script, migration(`http://${host}/mod.ts`));
        // what importing over HTTP and the sockets need, and leave to load the package: not to read it
        const flags = ["--no-prompt", "--no-check", "--quiet", "--no-config", "--no-npm"];
        const ended = await run(process.execPath, [
          ...["run", ...flags, `--allow-import=${host}`, "--allow-net=127.0.0.1"],
          `--allow-ffi=node_modules/${shimPackage()}`,
          "script.ts",
        ], { cwd: directory, env: { DENO_DIR: path.join(directory, "cache") } });
        assertEquals(ended, native);
      } finally {
        close();
      }
    }),
);
