/** Prometheus' own checker of metrics, from Debian's package `prometheus`; nothing is installed. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { ownSource, PrivateApt } from "../../native-shim/private_apt.ts";

const fetched = path.join(path.dirname(fileURLToPath(import.meta.url)), "vendor", "promtool");

/** The program; undefined where it was not fetched. */
export function promtool(): string | undefined {
  return fs.existsSync(fetched) ? fetched : undefined;
}

/** Fetches it if it is missing; why it could not be had. */
export function fetchPromtool(): string[] {
  if (promtool() !== undefined) return [];
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-apt-"));
  try {
    const source = ownSource("the tests take promtool from Debian's packages");
    const unpacked = path.join(directory, "unpacked");
    new PrivateApt(directory, source, [source.suite]).unpack(["prometheus"], unpacked);
    fs.mkdirSync(path.dirname(fetched), { recursive: true });
    fs.copyFileSync(path.join(unpacked, "usr", "bin", "promtool"), `${fetched}.partial`);
    fs.renameSync(`${fetched}.partial`, fetched);
    return [];
  } catch (error) {
    return [`no promtool: ${(error as Error).message}`];
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

/** What `promtool check metrics` says of a text: nothing, if it is right. */
export function checkMetrics(program: string, text: string): string {
  const { status, error, stdout, stderr } = spawnSync(program, ["check", "metrics"], {
    input: text,
    encoding: "utf8",
  });
  if (error) throw error;
  return status === 0 ? stdout + stderr : `${stdout}${stderr}status ${status}`;
}
