/** What is published works as a package: in an empty project, outside of the repository. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { denoPath, root } from "../_tools.ts";
import { copyPackage, publishedFiles, run, servePackage } from "../ffi/_package.ts";
import { temporaryDirectory } from "../migration/_migrate.ts";

const { name, exports } = JSON.parse(fs.readFileSync(path.join(root, "deno.json"), "utf8"));
const entries: [string, string][] = Object.entries<string>(exports)
  .map(([entry, module]) => [path.join(name, entry), module]);
/** Stands in for the package of JSR, which cannot be had here. */
const standIn = path.join(root, "tests", "std", "cli");

/** Every module that a module imports or starts, as it is written there. */
function importsOf(file: string): string[] {
  const code = fs.readFileSync(path.join(root, file), "utf8").replaceAll(/^\s*\*.*$/gm, "");
  const patterns = [/\bfrom "([^"]+)"/g, /\bimport\(?"([^"]+)"/g, /new URL\("(\.[^"]+\.ts)"/g];
  return patterns.flatMap((pattern) => [...code.matchAll(pattern)].map(([, found]) => found!));
}

test("what is published imports itself, Node's modules and @std/cli, nothing else", () => {
  const files = publishedFiles();
  assert(importsOf("src/channels/channel_worker.ts").includes("./worker.ts"));
  const foreign = new Set<string>();
  for (const file of files.filter((file) => file.endsWith(".ts"))) {
    for (const found of importsOf(file)) {
      if (found.startsWith("node:")) continue;
      if (!found.startsWith(".")) foreign.add(`${file}: ${found}`);
      else assert(files.includes(path.join(path.dirname(file), found)), `${file}: ${found}`);
    }
  }
  assertEquals([...foreign], ["src/cli/args.ts: @std/cli/parse-args"]);
});

test("deno publish takes what publish.include names, and no more", () => {
  const { status, stderr } = spawnSync(
    denoPath()!,
    ["publish", "--dry-run", "--allow-dirty", "--no-check"],
    { cwd: root, encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } },
  );
  assertEquals(status, 0, stderr);
  const base = pathToFileURL(root).href;
  const taken = [...stderr.matchAll(/^\s*(file:\S+) \(/gm)]
    .map(([, url]) => url!.slice(base.length + 1));
  assertEquals(taken.sort(), publishedFiles().sort());
  for (const file of taken) assert(!/^(tests|bench|examples|docs|packaging)\//.test(file), file);
});

/** Imports every entry, and runs the command. */
const program = `
${entries.map(([entry], i) => `import * as entry${i} from ${JSON.stringify(entry)};`).join("\n")}
const names = [${entries.map((_, i) => `Object.keys(entry${i}).length > 0`)}];
console.log(names.join(), await entry${
  entries.findIndex(([entry]) => entry.endsWith("/cli"))
}.main(["sned"]));
`;
const expected = {
  code: 0,
  stdout: `${entries.map(() => "true")} 2\n`,
  stderr: 'multifd: verb sned is unknown, did you mean "send"?\n',
};

/** Runs the program in an empty project. */
async function inProject(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = fs.realpathSync(temporaryDirectory());
  try {
    fs.writeFileSync(path.join(directory, "program.ts"), program);
    await work(directory);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

if ("Deno" in globalThis) {
  /** Maps the entries as Deno's own resolution of JSR does. */
  const importWith = async (directory: string, base: string, flags: string[]): Promise<void> => {
    const imports = Object.fromEntries(
      entries.map(([entry, module]) => [entry, new URL(module, base).href]),
    );
    const std = pathToFileURL(path.join(standIn, "parse_args.ts")).href;
    const config = { imports: { ...imports, "@std/cli/parse-args": std } };
    fs.writeFileSync(path.join(directory, "deno.json"), JSON.stringify(config));
    const args = ["run", "--no-prompt", "--quiet", "--no-lock", ...flags, "program.ts"];
    const env = { DENO_DIR: path.join(directory, "cache") };
    assertEquals(await run(process.execPath, args, { cwd: directory, env }), expected);
  };

  test("an empty project imports every entry over HTTP, with no permission", () =>
    inProject(async (directory) => {
      const { host, close } = await servePackage();
      await importWith(directory, `http://${host}/`, ["--check", `--allow-import=${host}`])
        .finally(close);
    }));

  test("an empty project imports every entry of a copy, with no permission", () =>
    inProject(async (directory) => {
      const copy = path.join(directory, "vendor");
      fs.renameSync(copyPackage(directory), copy);
      await importWith(directory, pathToFileURL(`${copy}/`).href, []);
    }));
} else {
  test("an empty project imports every entry of a copied package, with @std/cli added", () =>
    inProject(async (directory) => {
      copyPackage(directory);
      // where `bunx jsr add @std/cli` puts it
      const std = path.join(directory, "node_modules", "@std", "cli");
      fs.cpSync(standIn, std, { recursive: true });
      const manifest = { name: "@std/cli", exports: { "./parse-args": "./parse_args.ts" } };
      fs.writeFileSync(path.join(std, "package.json"), JSON.stringify(manifest));
      assertEquals(await run(process.execPath, ["program.ts"], { cwd: directory }), expected);
    }));
}
