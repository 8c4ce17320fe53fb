/** `migration.json`: what a received directory says of itself. */
import { ImageError } from "../errors.ts";
import { MAX_BLOCKS } from "../protocol/main_channel_reader.ts";
import { PAGE_SIZES } from "../protocol/ram_packet.ts";

/** Name of the manifest in a received directory. */
export const MANIFEST_FILE = "migration.json";
/** Name of the file that holds what followed RAM's END. */
export const DEVICE_STATE_FILE = "device-state.bin";

/** Most rounds that are told one by one; a guest that is not let go on has dozens. */
export const MAX_ROUNDS = 10_000;

const FORMAT = "multifd-image";
const VERSION = 1;

/** A block in a manifest. */
export interface ManifestBlock {
  /** The block's name. */
  name: string;
  /** Its file in the directory. */
  file: string;
  /** Its length in bytes. */
  "used-length": number;
  /** SHA-256 of its content in hex; null if hashing was off. */
  sha256: string | null;
  /** Pages that never arrived and were taken as zero. */
  "missing-pages": number;
}

/** The pages of a round, from one sync to the next. */
export interface RoundPages {
  /** Pages with data. */
  normal: number;
  /** Zero pages. */
  duplicate: number;
}

/** What a migration counted, in query-migrate's names where it has them. */
export interface ManifestCounters {
  /** How the main channel marked syncs: `round` or `section`. */
  sync?: string;
  /** The pages of each round, the set-up's empty one first. */
  rounds?: RoundPages[];
  /** Pages that were sent more than once. */
  "repeated-pages"?: number;
  /** The others. */
  [name: string]: unknown;
}

/** What is known of a source besides what it sent. */
export interface ManifestSource {
  /** The version of its QEMU. */
  "qemu-version": string;
  /** The migration capabilities that were on. */
  capabilities: string[];
}

/** A manifest. */
export interface Manifest {
  /** Always `multifd-image`. */
  format: string;
  /** Version of the format: 1. */
  version: number;
  /** Machine type. */
  machine: string;
  /** The guest's uuid, 8-4-4-4-12. */
  uuid: string;
  /** Page size in bytes. */
  "page-size": number;
  /** The blocks, in stream order. */
  blocks: ManifestBlock[];
  /** What followed RAM's END. */
  "device-state": {
    /** Its file in the directory. */
    file: string;
    /** Its length in bytes. */
    bytes: number;
    /** Its SHA-256 in hex. */
    sha256: string;
    /** Bytes of the JSON text at its end. */
    "vmdesc-bytes": number;
  };
  /** The migration's counters. */
  counters: ManifestCounters;
  /** What is known of the source, where somebody asked it. */
  source?: ManifestSource;
}

/** Makes a manifest of what is known. */
export function makeManifest(fields: Omit<Manifest, "format" | "version">): Manifest {
  return { format: FORMAT, version: VERSION, ...fields };
}

/**
 * Reads a manifest. It is believed no more than the wire is: types, sizes and
 * file names are checked.
 *
 * @param text The manifest's JSON.
 * @param path Where it is, for messages.
 * @throws {ImageError} On the first check that fails.
 */
export function parseManifest(text: string, path: string): Manifest {
  const fail = (what: string): never => {
    throw new ImageError(`Manifest ${path} is not valid: ${what}`);
  };
  let manifest: Manifest;
  try {
    manifest = JSON.parse(text) as Manifest;
  } catch (cause) {
    throw new ImageError(`Manifest ${path} is no JSON`, {}, { cause });
  }
  if (manifest?.format !== FORMAT) fail(`format is not "${FORMAT}"`);
  if (manifest.version !== VERSION) fail(`version ${manifest.version} is not known`);
  if (typeof manifest.machine !== "string") fail("machine is no text");
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(manifest.uuid)) fail("uuid is none");
  if (!PAGE_SIZES.includes(manifest["page-size"])) fail("page-size is none");
  const { blocks } = manifest;
  if (!Array.isArray(blocks) || blocks.length === 0 || blocks.length > MAX_BLOCKS) {
    fail("blocks are none or too many");
  }
  const names = new Set<unknown>();
  const files = new Set<unknown>([MANIFEST_FILE, DEVICE_STATE_FILE]);
  for (const block of blocks) {
    if (typeof block?.name !== "string" || names.has(block.name)) fail("a block's name is none");
    if (!isPlainFileName(block.file) || files.has(block.file)) fail(`file of "${block.name}"`);
    const length = block["used-length"];
    if (!Number.isSafeInteger(length) || length < 0 || length % manifest["page-size"] !== 0) {
      fail(`used-length of "${block.name}" is not whole pages`);
    }
    if (block.sha256 !== null && !isSha256(block.sha256)) fail(`sha256 of "${block.name}"`);
    names.add(block.name);
    files.add(block.file);
  }
  const state = manifest["device-state"];
  if (state?.file !== DEVICE_STATE_FILE) fail("device-state's file");
  if (!Number.isSafeInteger(state.bytes) || !isSha256(state.sha256)) fail("device-state");
  checkCounters(manifest.counters, fail);
  if (manifest.source !== undefined) checkSource(manifest.source, fail);
  return manifest;
}

/** Checks the counters that are read again; earlier manifests have none of them. */
function checkCounters(counters: ManifestCounters, fail: (what: string) => never): void {
  if (typeof counters !== "object" || counters === null) fail("counters are none");
  const { sync, rounds, "repeated-pages": repeated } = counters;
  if (sync !== undefined && sync !== "round" && sync !== "section") fail("counters' sync");
  if (repeated !== undefined && !isCount(repeated)) fail("counters' repeated-pages");
  if (rounds === undefined) return;
  const areRounds = Array.isArray(rounds) && rounds.length <= MAX_ROUNDS &&
    rounds.every((round) => isCount(round?.normal) && isCount(round.duplicate));
  if (!areRounds) fail("counters' rounds");
}

function checkSource(source: ManifestSource, fail: (what: string) => never): void {
  if (typeof source?.["qemu-version"] !== "string") fail("source's qemu-version");
  const { capabilities } = source;
  if (!Array.isArray(capabilities) || capabilities.some((name) => typeof name !== "string")) {
    fail("source's capabilities");
  }
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isSha256(value: unknown): boolean {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
}

function isPlainFileName(value: unknown): boolean {
  return typeof value === "string" && /^[^./\0][^/\0]*$/.test(value);
}

/** Bytes of a uuid as 8-4-4-4-12. */
export function formatUuid(uuid: Uint8Array): string {
  const hex = Array.from(uuid, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** The 16 bytes of a uuid written as 8-4-4-4-12. */
export function parseUuid(text: string): Uint8Array {
  return Uint8Array.from(text.replaceAll("-", "").match(/../g)!, (hex) => parseInt(hex, 16));
}
