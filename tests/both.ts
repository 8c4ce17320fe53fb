/** One test file under Deno and then under Bun: `both.ts FILE [NAME=VALUE...]`. */
import process from "node:process";
import { bunPath, runTool, setUp } from "./_tools.ts";

const [file, ...settings] = process.argv.slice(2);
if (file === undefined) throw new Error("Usage: deno run -A tests/both.ts FILE [NAME=VALUE...]");
setUp();
const env = {
  ...Object.fromEntries(settings.map((setting) => setting.split("="))),
  MULTIFD_TEST_DENO: process.execPath,
};
const denoPassed = runTool(process.execPath, ["test", "-A", "--no-check", file], env);
const bunPassed = runTool(bunPath()!, ["test", "--timeout=600000", `./${file}`], env);
process.exitCode = denoPassed && bunPassed ? 0 : 1;
