/** The methods known here: QEMU's six, and what a program registers. */
import { METHOD_MASK } from "../protocol/ram_packet.ts";
import type { Method } from "./method.ts";
import { none } from "./none.ts";
import { qatzip } from "./qatzip.ts";
import { qpl } from "./qpl.ts";
import { uadk } from "./uadk.ts";
import { zlib } from "./zlib.ts";
import { zstd } from "./zstd.ts";

const QEMU_METHODS: readonly Method[] = [none, zlib, zstd, qpl, uadk, qatzip];

/** Names of QEMU's own methods, which every thread knows. */
export const qemuMethodNames: readonly string[] = QEMU_METHODS.map(({ name }) => name);

const methods = new Map<string, Method>(QEMU_METHODS.map((method) => [method.name, method]));

/**
 * Makes a method known to senders and receivers of this process.
 *
 * @param method The method; its name and its flag must not be taken.
 * @throws {TypeError} If the name or the flag is taken or the flag is outside the method bits.
 *
 * @example
 * ```ts
 * import { registerMethod, methodByName } from "@multifd/multifd/core";
 *
 * const none = methodByName("none")!;
 * registerMethod({ ...none, name: "none-too", flag: 0x3e });
 * ```
 */
export function registerMethod(method: Method): void {
  if ((method.flag & ~METHOD_MASK) !== 0) {
    throw new TypeError(
      `Cannot register method ${method.name}: flag ${method.flag} is no method's`,
    );
  }
  if (methods.has(method.name)) {
    throw new TypeError(`Cannot register method ${method.name}: the name is taken`);
  }
  const owner = methodByFlag(method.flag);
  if (owner !== undefined) {
    throw new TypeError(`Cannot register method ${method.name}: its flag is ${owner.name}'s`);
  }
  methods.set(method.name, method);
}

/**
 * The method of a name.
 *
 * @param name E.g. `zstd`.
 * @returns Undefined if there is none.
 */
export function methodByName(name: string): Method | undefined {
  return methods.get(name);
}

/**
 * The method of a packet's flags.
 *
 * @param flags A packet's flags; other bits are ignored.
 * @returns Undefined if the method bits are no method's value.
 */
export function methodByFlag(flags: number): Method | undefined {
  for (const method of methods.values()) {
    if (method.flag === (flags & METHOD_MASK)) return method;
  }
  return undefined;
}

/** Names of all methods, in the order they were registered. */
export function methodNames(): string[] {
  return [...methods.keys()];
}
