/** The one method of a migration: what was told, or what came first on any channel. */
import { selectEngine } from "../engines/select.ts";
import { ProtocolError } from "../errors.ts";
import { methodByFlag, methodByName } from "../methods/registry.ts";
import { hex } from "../protocol/bytes.ts";
import { METHOD_MASK } from "../protocol/ram_packet.ts";
import type { AgreedMethod } from "./channel_session.ts";
import type { SharedState } from "./shared_state.ts";

/** Holds a receiver's method and its engine. */
export class MethodAgreement {
  readonly #state: SharedState;
  readonly #engine: string | undefined;
  #agreed: AgreedMethod | undefined;

  /**
   * @param state Where the channels agree.
   * @param method The one method to take; undefined takes what arrives first.
   * @param engine Name of the engine to decode with; undefined for the best.
   * @throws {EngineUnavailableError} If that engine cannot do that method.
   */
  constructor(state: SharedState, method: string | undefined, engine: string | undefined) {
    this.#state = state;
    this.#engine = engine;
    if (method === undefined) return;
    state.agreeMethod(methodByName(method)!.flag);
    this.agreed;
  }

  /** The method, once it is known. */
  get agreed(): AgreedMethod | undefined {
    if (this.#agreed !== undefined) return this.#agreed;
    const flag = this.#state.methodFlag;
    if (flag === undefined) return undefined;
    const method = methodByFlag(flag)!;
    this.#agreed = { method, engine: selectEngine(method, "decodes", this.#engine) };
    return this.#agreed;
  }

  /**
   * The method of a packet.
   *
   * @param flags The packet's flags.
   * @throws {ProtocolError} If they are not of the agreed method.
   */
  of(flags: number): AgreedMethod {
    const flag = flags & METHOD_MASK;
    if (this.#agreed?.method.flag === flag) return this.#agreed;
    const method = methodByFlag(flag);
    const received = method?.name ?? hex(flag);
    if (this.#state.methodFlag === undefined && method === undefined) {
      throw new ProtocolError("Packet has an unknown compression method", { received });
    }
    const agreed = method === undefined ? undefined : this.#state.agreeMethod(flag);
    if (agreed === flag) return this.agreed!;
    throw new ProtocolError("Packet has another compression method than was agreed", {
      expected: this.agreed!.method.name,
      received,
    });
  }
}
