/** Two processes that move an image, to which something happens on the way. */
import { createHash, randomFillSync } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { inspect } from "../../mod.ts";
import type { ImageFormat } from "../../src/ram/image_format.ts";
import { bunPath, denoPath } from "../_tools.ts";
import { type Outcome, type Running, type Runtime, start } from "../cli/_command.ts";
import { mixedPages, temporaryDirectory } from "./_migrate.ts";

/** Far beyond what anything here takes, in milliseconds. */
const HANG_MS = 60_000;
const MIXED_PAGES = 2048;

/** The runtimes that can be started here. */
export const RUNTIMES: readonly Runtime[] = [
  ...(denoPath() === undefined ? [] : ["deno"] as const),
  ...(bunPath() === undefined ? [] : ["bun"] as const),
];

/** How an image is moved. */
export interface Way {
  sender: Runtime;
  receiver: Runtime;
  transport: string;
  format: ImageFormat;
}

/** A folder with an image that nobody may touch, and a place beside it. */
export class Place {
  /** All that is here: the image, and what receivers make. */
  readonly directory: string = temporaryDirectory();
  /** What is sent. */
  readonly image: string = path.join(this.directory, "image");
  /** Where it is received into. */
  readonly out: string = path.join(this.directory, "vm");
  readonly #before: string;
  readonly #sha256: string;

  /** @param bytes The image's length; half of it is random, a part mixed, the rest zero. */
  constructor(bytes: number, seed: number) {
    const pages = new Uint8Array(bytes);
    randomFillSync(pages, 0, bytes >> 1);
    pages.set(mixedPages(MIXED_PAGES, 4096, seed), bytes - MIXED_PAGES * 4096);
    fs.writeFileSync(this.image, pages);
    this.#sha256 = createHash("sha256").update(pages).digest("hex");
    this.#before = this.#fingerprint();
  }

  /** All that a touch would change, but for the time it was read. */
  #fingerprint(): string {
    const { ino, mode, size, mtimeNs, ctimeNs } = fs.statSync(this.image, { bigint: true });
    const sha256 = createHash("sha256").update(fs.readFileSync(this.image)).digest("hex");
    return [ino, mode, size, mtimeNs, ctimeNs, sha256].join(" ");
  }

  /** Checks that the image is as it was. */
  checkImage(): void {
    assertEquals(this.#fingerprint(), this.#before);
  }

  /** What is here besides the image and the place's final name. */
  get partials(): string[] {
    return fs.readdirSync(this.directory).filter((name) => name !== "image" && name !== "vm");
  }

  /** What has the final name, or a name elsewhere: nothing, or all of the image. */
  async isWhole(out = this.out): Promise<boolean> {
    if (!fs.existsSync(out)) return false;
    const report = await inspect(out);
    assert(report.kind === "mapped-ram" || report.kind === "directory" && report.isVerified);
    assertEquals(report.blocks.map((block) => block.sha256), [this.#sha256]);
    return true;
  }

  /** Makes the final name free. */
  clear(): void {
    fs.rmSync(this.out, { recursive: true, force: true });
  }

  /** Removes all of it. */
  remove(): void {
    fs.rmSync(this.directory, { recursive: true });
  }

  /** Waits until a process has something in its partial place, or ends. */
  async whenBegun({ child, outcome }: Running, format: ImageFormat): Promise<void> {
    let isOver = false;
    outcome.then(() => isOver = true);
    const partial = `${this.out}.partial-${child.pid}`;
    const file = format === "directory" ? path.join(partial, "pc.ram") : partial;
    while (!isOver && !fs.existsSync(this.out)) {
      if ((fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0) > 0) return;
      await sleep(1);
    }
  }
}

/** Waits for processes to end, and kills what hangs. */
export async function ended(...running: Running[]): Promise<Outcome[]> {
  let hasHung = false;
  const hung = setTimeout(() => {
    hasHung = true;
    for (const { child } of running) child.kill("SIGKILL");
  }, HANG_MS);
  const outcomes = await Promise.all(running.map(({ outcome }) => outcome));
  clearTimeout(hung);
  assert(!hasHung, `A process hung: ${outcomes.map(({ stderr }) => stderr).join("\n")}`);
  return outcomes;
}

/** Starts both sides; what an earlier receiver left is gone when the new one listens. */
export async function startPair(
  place: Place,
  { sender, receiver, transport, format }: Way,
): Promise<{ send: Running; recv: Running }> {
  const shared = ["--transport", transport, "--timeout", "30"];
  const recv = start(receiver, ["recv", "--out", place.out, "--format", format, ...shared]);
  const address = await recv.line(/^listening on (.*)$/);
  assertEquals(place.partials, [`vm.partial-${recv.child.pid}`]);
  const to = ["--to", address ?? "", "--method", "zstd"];
  const send = start(sender, ["send", place.image, ...to, ...shared]);
  await place.whenBegun(recv, format);
  return { send, recv };
}

/** A side that was left alone ends well, or says that its peer is gone; it waits for nothing. */
export function checkSurvivor({ code, stderr }: Outcome): void {
  if (code === 0) return;
  assert(code === 1 || code === 3, `${code} ${stderr}`);
  assertMatch(
    stderr,
    /multifd (send|recv): ((Peer|Destination) (dropped|closed)|Destination failed to take)/,
  );
}
