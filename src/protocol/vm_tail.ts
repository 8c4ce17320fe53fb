/**
 * What follows RAM's END section: the devices' state, then a JSON text that
 * describes it. Device sections carry no lengths, so the end is found by the
 * JSON and then proven with it.
 */
import { ProtocolError, VerificationError } from "../errors.ts";
import { decodeName, viewOf } from "./bytes.ts";
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

interface VmState {
  fields?: { size: number; array_len?: number }[];
  subsections?: (VmState & { vmsd_name: string })[];
}

interface Device extends VmState {
  name: string;
  instance_id: number;
}

/** Collects a tail from pieces of any size and finds its end. */
export class VmTailReader {
  #bytes: Uint8Array = new Uint8Array(64 * 1024);
  #length = 0;
  #scanned = 0;
  #candidates: { at: number; size: number }[] = [];
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
    for (const candidate of this.#candidates) {
      const end = candidate.at + 6 + candidate.size;
      if (end > this.#length) continue;
      const description = parseObject(this.#bytes.subarray(candidate.at + 6, end));
      if (description === undefined) {
        this.#candidates = this.#candidates.filter((other) => other !== candidate);
        continue;
      }
      if (end < this.#length) {
        throw new ProtocolError("Stream goes on after the VM description", {
          channel: "main",
          expected: "no more bytes",
          received: `${this.#length - end} bytes`,
        });
      }
      const bytes = this.#bytes.slice(0, end);
      const devices = verifyDevices(bytes.subarray(0, candidate.at), description);
      return { bytes, descriptionBytes: candidate.size, devices };
    }
    return undefined;
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
    const view = viewOf(this.#bytes);
    for (let at = this.#scanned; at + 7 <= this.#length; at++) {
      this.#scanned = at + 1;
      if (this.#bytes[at] !== SECTION.EOF) continue;
      if (this.#bytes[at + 1] !== SECTION.VMDESCRIPTION) continue;
      if (this.#bytes[at + 6] !== 0x7b) continue;
      const before = at >= 5 ? this.#bytes[at - 5] : this.#footer[at];
      if (before !== SECTION.FOOTER) continue;
      const size = view.getUint32(at + 2);
      if (size <= VM_TAIL_MAX_SIZE) this.#candidates.push({ at, size });
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
  const tail = new VmTailReader(new Uint8Array([SECTION.FOOTER, 0, 0, 0, 0])).push(bytes);
  if (tail === undefined) throw new VerificationError(`${where} has no VM description at its end`);
  return tail;
}

function parseObject(text: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(text));
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? value as Record<string, unknown>
      : undefined;
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
  for (const device of description.devices as Device[]) {
    const start = at;
    const fail = (what: string): VerificationError =>
      new VerificationError(`Device state does not match its description: ${what}`, {
        channel: "main",
        offset: start,
      });
    const nameLength = sections[start + 5] ?? 0;
    const nameEnd = start + 6 + nameLength;
    if (sections[start] !== SECTION.FULL || nameEnd + 8 > sections.length) {
      throw fail(`no section where "${device?.name}" should be`);
    }
    const name = decodeName(sections.subarray(start + 6, nameEnd));
    const instanceId = view.getUint32(nameEnd);
    if (name !== device?.name || instanceId !== device?.instance_id) {
      throw fail(`"${name}" ${instanceId} where "${device?.name}" should be`);
    }
    const footer = nameEnd + 8 + bodySize(device);
    const sectionId = view.getUint32(start + 1);
    if (
      !(footer + 5 <= sections.length) || sections[footer] !== SECTION.FOOTER ||
      view.getUint32(footer + 1) !== sectionId
    ) {
      throw fail(`"${name}" is not ${footer - nameEnd - 8} bytes long`);
    }
    at = footer + 5;
    devices.push({ name, instanceId, bytes: at - start });
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

function bodySize(state: VmState): number {
  let size = 0;
  for (const field of state.fields ?? []) size += field.size * (field.array_len ?? 1);
  for (const subsection of state.subsections ?? []) {
    size += 2 + subsection.vmsd_name.length + 4 + bodySize(subsection);
  }
  return size;
}
