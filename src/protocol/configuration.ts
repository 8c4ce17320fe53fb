/** The configuration at the main channel's head: what is told of a VM before its RAM. */
import { decodeName } from "./bytes.ts";
import { SECTION } from "./main_channel.ts";
import type { MainChannelBytes, Wait } from "./main_channel_bytes.ts";
import { MAPPED_RAM } from "./mapped_ram.ts";

/** What a configuration tells. */
export interface Configuration {
  /** Machine type, e.g. `pc-q35-10.0`. */
  machine: string;
  /** Page size in bytes, where the stream tells it (ARM). */
  pageSize: number | undefined;
  /** The guest's uuid, 16 bytes, where the stream tells it (validate-uuid). */
  uuid: Uint8Array | undefined;
  /** Capabilities without which the stream cannot be read. */
  capabilities: string[];
}

const MAX_MACHINE_NAME = 255;
const MAX_CAPABILITIES = 64;
const MIN_PAGE_BITS = 12;
const MAX_PAGE_BITS = 16;

/**
 * Reads a configuration.
 *
 * @param input Stands before it.
 * @param isFile Whether the stream is a mapped-ram file; else it may not be one.
 * @throws {ProtocolError} On the first check that fails.
 * @throws {UnsupportedError} On a subsection or a capability that is refused by name.
 */
export function* readConfiguration(input: MainChannelBytes, isFile: boolean): Wait<Configuration> {
  const type = yield* input.u8("the configuration");
  if (type !== SECTION.CONFIGURATION) {
    throw input.error("Stream has no configuration", SECTION.CONFIGURATION, type);
  }
  const length = yield* input.u32("the machine type's length");
  if (length > MAX_MACHINE_NAME) {
    throw input.error("Machine type is too long", `at most ${MAX_MACHINE_NAME} bytes`, length);
  }
  const machine = decodeName(yield* input.take(length, "the machine type"));
  if (machine === undefined) throw input.error("Machine type is empty or not text");
  let pageSize: number | undefined;
  let uuid: Uint8Array | undefined;
  let capabilities: string[] = [];
  while ((yield* input.peek("a section of the RAM")) === SECTION.SUBSECTION) {
    yield* input.u8("a subsection");
    const name = yield* input.name("a subsection's name");
    const version = yield* input.u32(`the version of ${name}`);
    if (version !== 1) throw input.error(`Version of ${name} is unknown`, 1, version);
    if (name === "configuration/target-page-bits") pageSize = yield* readPageSize(input);
    else if (name === "configuration/capabilities") {
      capabilities = yield* readCapabilities(input, isFile);
    } else if (name === "configuration/uuid") uuid = (yield* input.take(16, "the uuid")).slice();
    else throw input.unsupported(`configuration has a subsection "${name}"`);
  }
  if (isFile && !capabilities.includes(MAPPED_RAM)) {
    throw input.unsupported(`it is in a file without the capability ${MAPPED_RAM}`);
  }
  return { machine, pageSize, uuid, capabilities };
}

function* readPageSize(input: MainChannelBytes): Wait<number> {
  const bits = yield* input.u32("the page bits");
  if (bits >= MIN_PAGE_BITS && bits <= MAX_PAGE_BITS) return 2 ** bits;
  throw input.error("Page size is out of range", "12 to 16 bits", bits);
}

function* readCapabilities(input: MainChannelBytes, isFile: boolean): Wait<string[]> {
  const count = yield* input.u32("the capabilities' count");
  if (count > MAX_CAPABILITIES) {
    throw input.error("Too many capabilities", `at most ${MAX_CAPABILITIES}`, count);
  }
  const names: string[] = [];
  for (let i = 0; i < count; i++) {
    const name = yield* input.name("a capability");
    if (!isFile || name !== MAPPED_RAM) throw input.unsupported(`capability ${name} is on`);
    names.push(name);
  }
  return names;
}
