/**
 * What follows RAM's END section: the devices' state, then a JSON text that
 * describes it. Device sections carry no lengths, so the end is found by the
 * JSON and then proven with it.
 */
import { ProtocolError, VerificationError } from "../errors.ts";
import { decodeName, encodeName, viewOf } from "./bytes.ts";
import { SECTION } from "./main_channel.ts";

/** Most bytes of device state and description that are kept. */
export const VM_TAIL_MAX_SIZE = 256 * 1024 * 1024;

/** A device whose state is in the tail. */
export interface DeviceState {
  /** QEMU's name of the device's section, e.g. `cpu_common`. */
  name: string;
  /** Instance of the device. */
  instanceId: number;
  /** Bytes of its section, framing included. */
  bytes: number;
}

/** A whole tail. */
export interface VmTail {
  /** Everything from the end of RAM's END section on, verbatim. */
  bytes: Uint8Array;
  /** Bytes of the JSON text at its end. */
  descriptionBytes: number;
  /** The devices, in stream order; empty where the JSON lists none. */
  devices: DeviceState[];
}

/** Most bytes of a description; QEMU's has 44 KB. */
const DESCRIPTION_MAX_SIZE = 16 * 1024 * 1024;
/** Places that look like the end and are not; a real tail has none. */
const MAX_FALSE_ENDS = 64;
/** Subsections may nest; QEMU's do so twice. */
const MAX_NESTING = 16;

/** A place that looks like the end: `00 06 <size> '{'`. */
interface Candidate {
  at: number;
  size: number;
}

/** Collects a tail from pieces of any size and finds its end. */
export class VmTailReader {
  #bytes: Uint8Array = new Uint8Array(64 * 1024);
  #length = 0;
  #scanned = 0;
  #candidates: Candidate[] = [];
  #falseEnds = 0;
  readonly #footer: Uint8Array;

  /**
   * Starts directly after RAM's END section.
   *
   * @param footer The five bytes directly before the tail: RAM's END footer.
   */
  constructor(footer: Uint8Array) {
    this.#footer = footer;
  }

  /** Bytes collected so far. */
  get length(): number {
    return this.#length;
  }

  /**
   * Takes the next bytes.
   *
   * @param chunk Bytes in the order they came.
   * @returns The tail once it is whole, else undefined.
   * @throws {ProtocolError} When bytes follow the end, or the tail grows past its bound.
   * @throws {VerificationError} When the JSON and the device sections disagree.
   */
  push(chunk: Uint8Array): VmTail | undefined {
    this.#append(chunk);
    this.#scan();
    const waiting: Candidate[] = [];
    for (const candidate of this.#candidates) {
      const end = candidate.at + 6 + candidate.size;
      if (end > this.#length) {
        waiting.push(candidate);
        continue;
      }
      const tail = this.#verify(candidate, end);
      if (tail !== undefined) return tail;
    }
    this.#candidates = waiting;
    return undefined;
  }

  /** The tail, if it ends with this candidate; undefined if that is data of a device. */
  #verify({ at, size }: Candidate, end: number): VmTail | undefined {
    const text = this.#bytes.subarray(at + 6, end);
    const description = text[size - 1] === 0x7d ? parseObject(text) : undefined;
    // a description that lists no devices proves nothing of sections before it
    const isTrue = description !== undefined && (at === 0 || Array.isArray(description.devices));
    if (!isTrue) {
      this.#countFalseEnd();
      return undefined;
    }
    const bytes = this.#bytes.slice(0, end);
    const devices = verifyDevices(bytes.subarray(0, at), description);
    if (end < this.#length) {
      throw new ProtocolError("Stream goes on after the VM description", {
        channel: "main",
        expected: "no more bytes",
        received: `${this.#length - end} bytes`,
      });
    }
    return { bytes, descriptionBytes: size, devices };
  }

  #countFalseEnd(): void {
    if (++this.#falseEnds <= MAX_FALSE_ENDS) return;
    throw new ProtocolError("Device state has too many places that look like its end", {
      channel: "main",
      expected: `at most ${MAX_FALSE_ENDS}`,
    });
  }

  #append(chunk: Uint8Array): void {
    const length = this.#length + chunk.length;
    if (length > VM_TAIL_MAX_SIZE) {
      throw new ProtocolError("Device state is too large", {
        channel: "main",
        expected: `at most ${VM_TAIL_MAX_SIZE} bytes`,
        received: `${length} bytes and more`,
      });
    }
    if (length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(length, 2 * this.#bytes.length));
      grown.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = grown;
    }
    this.#bytes.set(chunk, this.#length);
    this.#length = length;
  }

  /** Looks for `00 06 <u32> '{'` with a section footer directly before it. */
  #scan(): void {
    const bytes = this.#bytes.subarray(0, this.#length);
    const view = viewOf(bytes);
    for (;;) {
      // the one of these bytes that no text has: a guest stands still while each is looked at
      const found = bytes.indexOf(SECTION.VMDESCRIPTION, this.#scanned + 1);
      const at = (found < 0 ? bytes.length : found) - 1;
      this.#scanned = Math.max(this.#scanned, at);
      if (at + 7 > bytes.length) return;
      this.#scanned = at + 1;
      if (bytes[at] !== SECTION.EOF) continue;
      if (bytes[at + 6] !== 0x7b) continue;
      const before = at >= 5 ? bytes[at - 5] : this.#footer[at];
      if (before !== SECTION.FOOTER) continue;
      const size = view.getUint32(at + 2);
      if (size > DESCRIPTION_MAX_SIZE) continue;
      this.#candidates.push({ at, size });
      if (this.#candidates.length > MAX_FALSE_ENDS) this.#countFalseEnd();
    }
  }
}

/**
 * Reads a tail that is whole, e.g. from a file, and proves it.
 *
 * @param bytes The tail.
 * @param where Its name, for messages.
 * @throws {VerificationError} When it is cut short or something follows it.
 */
export function parseVmTail(bytes: Uint8Array, where: string): VmTail {
  // RAM's footer is not part of a stored tail
  const reader = new VmTailReader(new Uint8Array([SECTION.FOOTER, 0, 0, 0, 0]));
  let tail: VmTail | undefined;
  try {
    tail = reader.push(bytes);
  } catch (error) {
    throw new VerificationError(`${where} is not valid: ${(error as Error).message}`);
  }
  if (tail === undefined) throw new VerificationError(`${where} has no VM description at its end`);
  return tail;
}

function parseObject(text: Uint8Array): Record<string, unknown> | undefined {
  try {
    return asRecord(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(text)));
  } catch {
    return undefined;
  }
}

/** Walks the device sections beside their description; every byte must be accounted for. */
function verifyDevices(sections: Uint8Array, description: Record<string, unknown>): DeviceState[] {
  if (!Array.isArray(description.devices)) return [];
  const view = viewOf(sections);
  const devices: DeviceState[] = [];
  let at = 0;
  for (const described of description.devices as unknown[]) {
    const fail = (what: string): VerificationError =>
      new VerificationError(`Device state does not match its description: ${what}`, {
        channel: "main",
        offset: at,
      });
    const device = asRecord(described);
    const size = bodySize(device);
    if (device === undefined || size === undefined) throw fail("a description is malformed");
    const nameEnd = at + 6 + (sections[at + 5] ?? 0);
    if (sections[at] !== SECTION.FULL || nameEnd + 8 > sections.length) {
      throw fail(`no section where "${device.name}" should be`);
    }
    const name = decodeName(sections.subarray(at + 6, nameEnd));
    const instanceId = view.getUint32(nameEnd);
    if (name === undefined || name !== device.name || instanceId !== device.instance_id) {
      throw fail(`"${name}" ${instanceId} where "${device.name}" should be`);
    }
    const footer = nameEnd + 8 + size;
    const sectionId = view.getUint32(at + 1);
    if (
      footer + 5 > sections.length || sections[footer] !== SECTION.FOOTER ||
      view.getUint32(footer + 1) !== sectionId
    ) {
      throw fail(`"${name}" is not ${size} bytes long`);
    }
    devices.push({ name, instanceId, bytes: footer + 5 - at });
    at = footer + 5;
  }
  if (at !== sections.length) {
    throw new VerificationError("Device state goes on after the last device described", {
      channel: "main",
      offset: at,
      expected: `${at} bytes`,
      received: `${sections.length} bytes`,
    });
  }
  return devices;
}

function asRecord(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? value as Record<string, unknown>
    : undefined;
}

/** Bytes of a device's or subsection's body; undefined where its description is malformed. */
function bodySize(state: Record<string, unknown> | undefined, nesting = 0): number | undefined {
  const { fields = [], subsections = [] } = state ?? {};
  if (!Array.isArray(fields) || !Array.isArray(subsections) || nesting > MAX_NESTING) {
    return undefined;
  }
  let total = 0;
  for (const field of fields as unknown[]) {
    const { size, array_len: count = 1 } = asRecord(field) ?? {};
    if (!isSize(size) || !isSize(count)) return undefined;
    total += size * count;
  }
  for (const subsection of subsections as unknown[]) {
    const record = asRecord(subsection);
    const name = record?.vmsd_name;
    const size = bodySize(record, nesting + 1);
    if (typeof name !== "string" || size === undefined) return undefined;
    total += 2 + encodeName(name).length + 4 + size;
  }
  return total;
}

function isSize(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0;
}
