/** One command gives an importer the shim: over HTTP in Deno, from a copied package in Bun. */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { CODEC_ABI, IO_ABI } from "../../ffi/symbols.ts";
import { SOURCES } from "../../native-shim/sources.ts";
import { SOURCES_FILE, sourcesModule } from "../../packaging/sources.ts";
import { root } from "../_tools.ts";
import { temporaryDirectory } from "../migration/_migrate.ts";
import {
  copyPackage,
  type Ended,
  migration,
  publishedFiles,
  run,
  servePackage,
  whyNoShim,
} from "./_package.ts";

const isDeno = "Deno" in globalThis;
const skip = whyNoShim() ?? false;
const options = { skip, timeout: 120_000 };
const shim = path.join(root, "native-shim");
/** This runtime's arguments for the build in this clone. */
const build = [...(isDeno ? ["run", "-A"] : []), path.join(shim, "build.ts")];

/** A new user's machine: a folder to work in and an empty home. */
async function withNewUser(
  work: (user: { directory: string; home: string; cache: string }) => Promise<void>,
): Promise<void> {
  const directory = fs.realpathSync(temporaryDirectory());
  try {
    const home = path.join(directory, "home");
    fs.mkdirSync(home);
    const cache = path.join(home, "caches", "multifd", `${CODEC_ABI}.${IO_ABI}`);
    await work({ directory, home, cache });
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

/** The command that an error names, for this runtime's own executable. */
function namedCommand({ stderr }: Ended): string[] {
  const [program, ...args] = /build it with "([^"]*)"/.exec(stderr)?.[1]?.split(" ") ?? [];
  assertEquals(program, isDeno ? "deno" : "bun", stderr);
  return args;
}

/** Checks that a build ended well, and gives back the directory it names. */
function builtIn({ code, stdout, stderr }: Ended): string {
  assertEquals(code, 0, stderr);
  const [, names, directory] = /^Built (.*) in (.*)$/m.exec(stdout)!;
  assert(names!.split(", ").includes("io") && names!.split(", ").includes("zstd"), stdout);
  // nothing of the build stays behind
  assertEquals(fs.readdirSync(directory!).sort(), names!.split(", ").map((name) => `${name}.so`));
  return directory!;
}

test("SOURCES is what is in native-shim/ and what is published of it", () => {
  const files = fs.readdirSync(shim, { withFileTypes: true }).filter((entry) => entry.isFile());
  const published = publishedFiles().filter((file) => path.dirname(file) === "native-shim");
  const expected = [...Object.keys(SOURCES), "build.ts", "sources.ts"].sort();
  // a clone's only: what is fetched goes beside them
  const fetching = ["fetch_accelerators.ts", "private_apt.ts"];
  assertEquals(
    files.map(({ name }) => name).filter((name) => !fetching.includes(name)).sort(),
    expected,
  );
  assertEquals(published.map((file) => path.basename(file)).sort(), expected);
  assert(!publishedFiles().some((file) => /^native-shim\/.*\//.test(file)));
});

test("native-shim/sources.ts has the sources' checksums", () => {
  const why = "write them anew: deno task sources";
  assertEquals(fs.readFileSync(SOURCES_FILE, "utf8"), sourcesModule(), why);
});

test("package.json gives Bun what deno.json gives Deno", () => {
  const [deno, bun] = ["deno.json", "package.json"]
    .map((name) => JSON.parse(fs.readFileSync(path.join(root, name), "utf8")));
  const { name, version, license, exports } = deno;
  assertEquals([bun.name, bun.version, bun.license], [name, version, license]);
  assertEquals(bun.exports, exports);
  assertEquals(bun.files, deno.publish.include);
});

test("build.ts takes a directory, and says how to name it", options, async () => {
  await withNewUser(async ({ directory, home }) => {
    const into = path.join(directory, "with spaces");
    const temporary = path.join(home, "with spaces, too");
    fs.mkdirSync(temporary);
    const ended = await run(process.execPath, [...build, "with spaces"], {
      cwd: directory,
      env: { HOME: home, TMPDIR: temporary },
    });
    assertEquals(builtIn(ended), into);
    assertStringIncludes(ended.stdout, `Set MULTIFD_SHIM_DIR=${into} to use it`);
    assertEquals(fs.readdirSync(temporary), []);
  });
});

test("build.ts says which packages a machine without a compiler lacks", async () => {
  await withNewUser(async ({ directory, home }) => {
    const { code, stderr } = await run(process.execPath, [...build, "here"], {
      cwd: directory,
      env: { HOME: home, PATH: home },
    });
    assertMatch(
      stderr,
      /^Cannot build the shim: .*\(Debian: apt-get install gcc libc6-dev make\)$/m,
    );
    assertEquals([code, fs.existsSync(path.join(directory, "here"))], [1, false]);
  });
});

if (isDeno) {
  test("the command of the error gives an importer over HTTP the shim", options, async () => {
    const { host, close } = await servePackage();
    await withNewUser(async ({ directory, home, cache }) => {
      const env = {
        HOME: home,
        XDG_CACHE_HOME: path.join(home, "caches"),
        DENO_DIR: path.join(directory, "deno"),
      };
      fs.writeFileSync(path.join(directory, "script.ts"), migration(`http://${host}/mod.ts`));
      const documented = [
        `--allow-import=${host}`,
        "--allow-net=127.0.0.1",
        `--allow-ffi=${cache}`,
        "--allow-env=HOME,XDG_CACHE_HOME",
      ];
      const start = (args: string[]) => run(process.execPath, args, { cwd: directory, env });
      const migrate = () => start(["run", "--no-prompt", "--quiet", ...documented, "script.ts"]);

      const without = await migrate();
      assertEquals(without.code, 1);
      const command = namedCommand(without);
      assertEquals(command, ["run", "-A", `http://${host}/native-shim/build.ts`]);

      const built = await start(command);
      assertEquals(builtIn(built), cache);
      assertStringIncludes(built.stdout, `Deno needs ${documented.slice(2).join(" ")}\n`);
      assertEquals(await migrate(), { code: 0, stdout: "native zstd true\n", stderr: "" });
    }).finally(close);
  });

  test("build.ts builds nothing of a source that was changed on its way", options, async () => {
    const { host, close } = await servePackage("io.c");
    await withNewUser(async ({ directory, home }) => {
      const env = { HOME: home, DENO_DIR: path.join(directory, "deno") };
      const command = ["run", "-A", `http://${host}/native-shim/build.ts`, "built"];
      const { code, stdout, stderr } = await run(process.execPath, command, {
        cwd: directory,
        env,
      });
      assertEquals([code, stdout], [1, ""]);
      assertMatch(
        stderr,
        /Cannot build the shim: .*\/io\.c is not this version's: SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}\n$/,
      );
      assert(!fs.existsSync(path.join(directory, "built")));
    }).finally(close);
  });
} else {
  /** Runs a migration, then the command that its error names, and the migration again. */
  const buildFromCopy = async (
    user: { directory: string; home: string },
    script: string,
  ): Promise<string> => {
    const env = { HOME: user.home, XDG_CACHE_HOME: path.join(user.home, "caches") };
    const start = (args: string[]) => run(process.execPath, args, { cwd: user.directory, env });
    fs.writeFileSync(path.join(user.directory, "script.ts"), migration("@multifd/multifd"));

    const without = await start(["script.ts"]);
    assertEquals(without.code, 1);
    const command = namedCommand(without);
    assertEquals(command, [script]);

    const directory = builtIn(await start(command));
    assertEquals(await start(["script.ts"]), { code: 0, stdout: "native zstd true\n", stderr: "" });
    return directory;
  };

  test("the command of the error puts the shim into a copied package", options, async () => {
    await withNewUser(async (user) => {
      const copy = path.join(copyPackage(user.directory), "native-shim");
      const directory = await buildFromCopy(user, path.join(copy, "build.ts"));
      assertEquals(directory, path.join(copy, "build"));
    });
  });

  test("the command of the error keeps off a package it cannot write to", options, async () => {
    await withNewUser(async (user) => {
      const copy = path.join(copyPackage(user.directory), "native-shim");
      // refuses root, too
      fs.writeFileSync(path.join(copy, "build"), "");
      assertEquals(await buildFromCopy(user, path.join(copy, "build.ts")), user.cache);
    });
  });
}
