/** QEMU's migration capabilities and parameters: set for one migration, and put back. */
import { QemuError } from "../errors.ts";
import { isObject, type JsonObject } from "./qmp_message.ts";
import type { QmpClient } from "./qmp.ts";

/** What a migration through us needs on. */
const ON: readonly string[] = ["multifd", "return-path"];
/** What may be on as well: it changes nothing of what is sent. All else, known or not, goes off. */
const AS_IT_IS: readonly string[] = [
  ...ON,
  "auto-converge",
  "dirty-limit",
  "events",
  "late-block-activate",
  "validate-uuid",
  "zero-blocks",
];

/** What a caller wants; undefined leaves it as QEMU has it. */
export interface WantedSettings {
  /** Compression method. */
  method?: string | undefined;
  /** Its level, in its terms. */
  level?: number | undefined;
  /** Number of multifd channels. */
  channels?: number | undefined;
  /** Bytes per second. */
  maxBandwidth?: number | undefined;
}

/** A capability, as QEMU lists and takes it. */
export interface Capability {
  /** Its name. */
  capability: string;
  /** Whether it is on. */
  state: boolean;
}

/** What to change, and what to change it back to. */
export interface Change<T> {
  /** The new values. */
  to: T;
  /** The old ones. */
  back: T;
}

/** The capabilities to switch. */
export function capabilityChanges(current: readonly JsonObject[]): Change<Capability[]> {
  const states = new Map(current.map(({ capability, state }) => [capability, state === true]));
  const missing = ON.find((name) => !states.has(name));
  if (missing !== undefined) {
    throw new QemuError(`QEMU has no capability ${missing}: multifd is in QEMU since 4.0`);
  }
  const to: Capability[] = [];
  for (const [name, state] of states) {
    const capability = String(name);
    if (ON.includes(capability) ? !state : state && !AS_IT_IS.includes(capability)) {
      to.push({ capability, state: !state });
    }
  }
  return { to, back: to.map(({ capability, state }) => ({ capability, state: !state })) };
}

/** The parameters to set. A method must be given where a level is. */
export function parameterChanges(current: JsonObject, wanted: WantedSettings): Change<JsonObject> {
  const values: JsonObject = {
    "multifd-compression": wanted.method,
    [`multifd-${wanted.method}-level`]: wanted.level,
    "multifd-channels": wanted.channels,
    "max-bandwidth": wanted.maxBandwidth,
    // what QEMU had on for another destination; ours has no TLS and is not itself
    "tls-creds": current["tls-creds"] ? "" : undefined,
    mode: current.mode === undefined ? undefined : "normal",
  };
  const changed = Object.entries(values)
    .filter(([name, value]) => value !== undefined && value !== current[name]);
  return {
    to: Object.fromEntries(changed),
    back: Object.fromEntries(
      changed.filter(([name]) => name in current).map(([name]) => [name, current[name]]),
    ),
  };
}

/** The settings of one QEMU while we use it. */
export class MigrationSettings {
  readonly #qmp: QmpClient;
  readonly #undo: [command: string, args: JsonObject][] = [];

  /** @param qmp The QEMU. */
  constructor(qmp: QmpClient) {
    this.#qmp = qmp;
  }

  /**
   * Sets what the migration needs; {@linkcode putBack} is due afterwards, also after an error.
   *
   * @returns Names of the capabilities that are on now, and the parameters as they are now.
   * @throws {QemuError} If QEMU refuses, or does not have the method.
   */
  async apply(
    wanted: WantedSettings,
    signal?: AbortSignal,
  ): Promise<{ capabilities: string[]; parameters: JsonObject }> {
    const capabilities = await this.#qmp.queryList("query-migrate-capabilities", { signal });
    const { to, back } = capabilityChanges(capabilities);
    if (to.length > 0) {
      await this.#set("migrate-set-capabilities", { capabilities: to }, { capabilities: back });
    }
    const parameters = await this.#qmp.query("query-migrate-parameters", {}, { signal });
    const change = parameterChanges(parameters, wanted);
    if (Object.keys(change.to).length > 0) {
      try {
        await this.#set("migrate-set-parameters", change.to, change.back);
      } catch (error) {
        throw await this.#explain(error, wanted.method);
      }
    }
    const states = new Map(capabilities.map(({ capability, state }) => [capability, state]));
    for (const { capability, state } of to) states.set(capability, state);
    return {
      capabilities: [...states].filter(([, state]) => state === true).map(([name]) => String(name)),
      parameters: { ...parameters, ...change.to },
    };
  }

  /**
   * Puts back exactly what was changed, the newest first, so that each state on the way was
   * valid once.
   *
   * @param timeout Longest time for each answer, in milliseconds.
   * @returns Why it could not be done; undefined if it was, or if there is no QEMU any more.
   */
  async putBack(timeout: number): Promise<string | undefined> {
    try {
      for (const [command, args] of this.#undo.splice(0).reverse()) {
        await this.#qmp.execute(command, args, { timeout });
      }
    } catch (error) {
      if (this.#qmp.isLost) return undefined;
      return `cannot put QEMU's migration settings back: ${(error as Error).message}`;
    }
  }

  /** What QEMU refuses, it leaves as it was; what is not known to be refused is put back. */
  async #set(command: string, args: JsonObject, back: JsonObject): Promise<void> {
    this.#undo.push([command, back]);
    try {
      await this.#qmp.execute(command, args);
    } catch (error) {
      if (error instanceof QemuError) this.#undo.pop();
      throw error;
    }
  }

  async #explain(error: unknown, method: string | undefined): Promise<unknown> {
    if (!(error instanceof QemuError) || method === undefined) return error;
    const methods = await qemuMethods(this.#qmp);
    if (methods.includes(method)) return error;
    const summary = `QEMU ${this.#qmp.version} has no method ${method}; ` +
      `it has: ${methods.join(", ")}`;
    return new QemuError(summary, error.facts, { cause: error });
  }
}

/** The compression methods that a QEMU was built with. */
export async function qemuMethods(qmp: QmpClient, signal?: AbortSignal): Promise<string[]> {
  const schema = await qmp.queryList("query-qmp-schema", { signal });
  const byName = new Map(schema.map((entry) => [entry.name, entry]));
  const members = byName.get(byName.get("migrate-set-parameters")?.["arg-type"])?.members;
  const isParameter = (member: JsonObject): boolean => member.name === "multifd-compression";
  const parameter = Array.isArray(members) ? members.filter(isObject).find(isParameter) : undefined;
  const values = byName.get(parameter?.type)?.values;
  return Array.isArray(values) ? values.map(String) : [];
}
