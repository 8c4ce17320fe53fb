/** Whether an image fits a QEMU, before QEMU takes a byte: one that failed cannot try again. */
import { ImageError, QemuError } from "../errors.ts";
import type { RamBlock } from "../protocol/ram_packet.ts";
import { isDirectory } from "../ram/files.ts";
import { readManifest } from "../ram/image_files.ts";
import { openSavedVm } from "../ram/image_format.ts";
import { formatUuid, parseUuid } from "../ram/manifest.ts";
import { queryGuest, queryMigration } from "./migration_status.ts";
import type { QmpClient } from "./qmp.ts";

/** What of an image QEMU has to fit. */
export interface ImageFacts {
  /** Machine type. */
  machine: string | undefined;
  /** The guest's uuid, 8-4-4-4-12; undefined where the image does not tell. */
  uuid: string | undefined;
  /** The blocks. */
  blocks: readonly RamBlock[];
  /** How the source marked syncs, where that is known. */
  sync: string | undefined;
}

/**
 * Reads them.
 *
 * @throws {ImageError} If it is no VM that was saved whole.
 */
export function readFacts(image: string, maxRam: number | undefined): ImageFacts {
  const source = openSavedVm(image, maxRam);
  try {
    if (source.deviceState === undefined) {
      throw new ImageError(`Cannot restore ${image}: it has RAM, but no device state`);
    }
    const { machine, blocks, uuid } = source;
    return {
      machine: machine === "none" ? undefined : machine,
      uuid: uuid === undefined ? undefined : formatUuid(uuid),
      blocks,
      sync: isDirectory(image) ? readManifest(image).counters.sync : undefined,
    };
  } finally {
    source.close();
  }
}

/** How to start a QEMU that can take an image. */
export function startHint({ machine, uuid, blocks }: ImageFacts): string {
  // a guest's own memory is the largest of its blocks
  const mebibytes = Math.max(...blocks.map(({ usedLength }) => usedLength)) / 2 ** 20;
  const options = [
    ...(machine === undefined ? [] : [`-M ${machine}`]),
    `-m ${Math.ceil(mebibytes)}`,
    ...(uuid === undefined || /^[0-]+$/.test(uuid) ? [] : [`-uuid ${uuid}`]),
    "-incoming defer",
  ];
  return `start it with ${options.join(" ")} and the devices that the guest had`;
}

/**
 * Checks that QEMU waits for a guest.
 *
 * @returns The guest's state.
 */
export async function checkWaiting(
  qmp: QmpClient,
  image: ImageFacts,
  signal?: AbortSignal,
): Promise<string> {
  const state = await queryGuest(qmp, { signal });
  if (state !== "inmigrate") {
    throw new QemuError(
      `Cannot restore into a QEMU whose guest is ${state}: ${startHint(image)}`,
    );
  }
  const migration = await queryMigration(qmp, { signal });
  if (migration.status === "none" && migration["socket-address"] === undefined) return state;
  throw new QemuError(
    `Cannot restore into a QEMU that was given an incoming migration before: ${startHint(image)}`,
  );
}

/**
 * Checks what QEMU would refuse later, telling why on its stderr only.
 *
 * @returns QEMU's machine type, if it tells, and its guest's uuid.
 */
export async function checkFit(
  qmp: QmpClient,
  image: ImageFacts,
  signal?: AbortSignal,
): Promise<{ machine: string | undefined; uuid: Uint8Array | undefined }> {
  const check = <T>(what: string, expected: T | undefined, received: T | undefined): void => {
    if (expected === undefined || received === undefined || expected === received) return;
    throw new QemuError(`QEMU's ${what} is not the image's`, {
      expected: String(expected),
      received: `${received}; ${startHint(image)}`,
    });
  };
  const type = await ask(
    qmp.execute("qom-get", { path: "/machine", property: "type" }, { signal }),
  );
  const machine = typeof type === "string" ? type.replace(/-machine$/, "") : undefined;
  check("machine type", image.machine, machine);
  const memory = await ask(qmp.query("query-memory-size-summary", {}, { signal }));
  // with a memory backend it has the backend's name
  const ram = image.blocks.find(({ name }) => name === "pc.ram");
  check("memory size", ram?.usedLength, memory?.["base-memory"]);
  const answer = await ask(qmp.query("query-uuid", {}, { signal }));
  const uuid = typeof answer?.UUID === "string" ? answer.UUID : undefined;
  check("uuid", image.uuid, uuid);
  return { machine, uuid: uuid === undefined ? undefined : parseUuid(uuid) };
}

/** An answer that can be done without. */
async function ask<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof QemuError) return undefined;
    throw error;
  }
}
