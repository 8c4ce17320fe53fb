/**
 * Makes one executable of the command, with the shim beside it: `deno task compile [DIRECTORY]`.
 *
 * Bun's compiler, since Deno's downloads its base executable from a server of its own.
 */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { bunPath, installPackages, root, runTool } from "../tests/_tools.ts";
import { bundleShim } from "./_shim.ts";

/**
 * Makes the executable.
 *
 * @param directory Where it and the shim go.
 * @throws {Error} If a tool fails.
 */
export function compile(directory: string): void {
  fs.mkdirSync(directory, { recursive: true });
  const compiled = runTool(bunPath()!, [
    "build",
    "--compile",
    // whatever directory it is started in has no say in what it does
    "--no-compile-autoload-dotenv",
    "--no-compile-autoload-bunfig",
    // side by side, as `new URL("./worker.ts", import.meta.url)` of a bundle looks for it
    "--entry-naming=[name].[ext]",
    `--outfile=${path.join(directory, "multifd")}`,
    path.join(root, "src", "cli", "main.ts"),
    path.join(root, "src", "channels", "worker.ts"),
  ]);
  if (!compiled) throw new Error("Cannot compile the command: bun build failed, see above");
  bundleShim(directory);
}

if (import.meta.main) {
  const directory = path.resolve(process.argv[2] ?? path.join(root, "dist"));
  installPackages();
  compile(directory);
  console.log(`Made ${path.join(directory, "multifd")}, and the shim beside it`);
}
