/** Against real QEMUs: `deno task test:qemu`. Where none can be fetched, it says why. */
import process from "node:process";
import { Report } from "../_report.ts";
import { setUp } from "../_tools.ts";
import { fetchQemus } from "./fetch.ts";
import { WHY_NOT } from "./_lab.ts";
import { fetchPromtool } from "./promtool.ts";

setUp();
const missing = [...fetchQemus(), ...fetchPromtool()];
const report = new Report("test-qemu");
const options = ["-A", "--quiet", "--no-check", `--junit-path=${report.file("qemu")}`];
const args = ["test", ...options, ...process.argv.slice(2), "tests/qemu"];
await report.run("qemu", process.execPath, args, { [WHY_NOT]: missing.join("; ") });
await report.close(...missing);
