/**
 * Makes the npm package of the shim for this kind of machine: `deno task pack:shim [DIRECTORY]`.
 *
 * It has no JavaScript: ffi/find.ts looks for its shared objects in node_modules.
 */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { shimPackage } from "../ffi/find.ts";
import { root, runTool } from "../tests/_tools.ts";
import { bundleShim } from "./_shim.ts";

const SHIM_PACKAGE = shimPackage();

const README = `# ${SHIM_PACKAGE}

The native shim of @multifd/multifd, ready for Linux on x86-64
with glibc 2.34 or later: install it beside, and migrations use it.

    npm install ${SHIM_PACKAGE}

Deno needs \`--allow-ffi=node_modules/${SHIM_PACKAGE}\`. It brings ISA-L, libdeflate and
zstd; what each is licensed under is in licences/. Intel's accelerators need the shim that is built
on the machine that has them.
`;

/**
 * Makes the package.
 *
 * @param directory Where its folder and its archive go.
 * @returns The archive's file.
 * @throws {Error} If a tool fails.
 */
export function packShim(directory: string): string {
  const folder = path.join(directory, path.basename(SHIM_PACKAGE));
  fs.rmSync(folder, { recursive: true, force: true });
  bundleShim(folder);
  const { version } = JSON.parse(fs.readFileSync(path.join(root, "deno.json"), "utf8"));
  const manifest = {
    name: SHIM_PACKAGE,
    version,
    description: "The native shim of @multifd/multifd",
    license: "MIT AND BSD-3-Clause",
    os: [process.platform],
    cpu: [process.arch],
    libc: ["glibc"],
    files: ["*.so", "*.so.*", "licences"],
  };
  fs.writeFileSync(path.join(folder, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  fs.writeFileSync(path.join(folder, "README.md"), README);
  if (!runTool("npm", ["pack", "--silent", "--offline", "--pack-destination", directory, folder])) {
    throw new Error("Cannot pack the shim: npm pack failed, see above");
  }
  // npm's name for the archive of a package with a scope
  const name = SHIM_PACKAGE.slice(1).replace("/", "-");
  return path.join(directory, `${name}-${version}.tgz`);
}

if (import.meta.main) {
  console.log(`Made ${packShim(path.resolve(process.argv[2] ?? path.join(root, "dist")))}`);
}
