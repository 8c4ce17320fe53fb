/** `--verify`: no engine is believed: what one computed, software computes back or again. */
import { nodeBuffer } from "../builtin_modules.ts";
import { CodecError, type EngineCounts } from "../engines/engine.ts";
import { softwareEngine } from "../engines/select.ts";
import { EngineError, ProtocolError } from "../errors.ts";
import type { Method, MethodContext, MethodReceiver, MethodSender } from "../methods/method.ts";
import { PACKET_SIZE } from "../protocol/ram_packet.ts";

/** What a channel's method is set up with. */
export interface VerifyContext extends MethodContext {
  /** Whether a payload is decompressed and compared before it is sent, or by software, too. */
  verify: boolean;
}

/**
 * Sets up a method's sending side.
 *
 * @param method The method.
 * @param context What it is set up with.
 * @param onCaught Told of every payload that was found wrong.
 */
export async function setUpSender(
  method: Method,
  context: VerifyContext,
  onCaught: () => void,
): Promise<MethodSender> {
  const sender = await method.sendSetup(context);
  const engine = softwareEngine(method, "decodes");
  if (!context.verify || engine === undefined) return sender;
  const receiver = await method.receiveSetup({ ...context, engine });
  return new VerifyingSender(method, context, sender, receiver, onCaught);
}

/** A method's sending side that believes no engine. */
class VerifyingSender implements MethodSender {
  readonly #method: Method;
  readonly #context: MethodContext;
  readonly #sender: MethodSender;
  readonly #receiver: MethodReceiver;
  readonly #onCaught: () => void;
  readonly #pages = new Uint8Array(PACKET_SIZE);
  #software: MethodSender | undefined;

  constructor(
    method: Method,
    context: MethodContext,
    sender: MethodSender,
    receiver: MethodReceiver,
    onCaught: () => void,
  ) {
    this.#method = method;
    this.#context = context;
    this.#sender = sender;
    this.#receiver = receiver;
    this.#onCaught = onCaught;
  }

  async prepare(pages: Uint8Array, out: Uint8Array): Promise<number> {
    const size = await this.#sender.prepare(pages, out);
    if (await this.#isRight(out.subarray(0, size), pages)) return size;
    this.#onCaught();
    const { engine } = this.#context;
    // software can do a packet over only where no packet builds on another
    if (engine?.isDevice === true) {
      const software = softwareEngine(this.#method, "encodes");
      this.#software ??= await this.#method.sendSetup({ ...this.#context, engine: software });
      const again = await this.#software.prepare(pages, out);
      if (await this.#isRight(out.subarray(0, again), pages)) return again;
    }
    throw new EngineError(
      `Engine ${engine?.name} compressed a packet that does not give its pages`,
    );
  }

  async #isRight(payload: Uint8Array, pages: Uint8Array): Promise<boolean> {
    const decoded = this.#pages.subarray(0, pages.length);
    try {
      this.#method.checkPayloadSize(
        payload.length,
        pages.length / this.#context.pageSize,
        this.#context.pageSize,
      );
      await this.#receiver.receive(payload, decoded);
    } catch (error) {
      if (error instanceof CodecError || error instanceof ProtocolError) return false;
      throw error;
    }
    return nodeBuffer().Buffer.compare(decoded, pages) === 0;
  }

  counts(): EngineCounts | undefined {
    return this.#sender.counts?.();
  }

  cleanup(): void {
    this.#sender.cleanup();
    this.#receiver.cleanup();
    this.#software?.cleanup();
  }
}

/**
 * Sets up a method's receiving side. Only a device is worth a second look: software that
 * decompresses wrongly would do so again.
 *
 * @param method The method.
 * @param context What it is set up with.
 * @param onCaught Told of every packet that the device got wrong.
 */
export async function setUpReceiver(
  method: Method,
  context: VerifyContext,
  onCaught: () => void,
): Promise<MethodReceiver> {
  const receiver = await method.receiveSetup(context);
  if (!context.verify || context.engine?.isDevice !== true) return receiver;
  const engine = softwareEngine(method, "decodes");
  const software = await method.receiveSetup({ ...context, engine });
  const again = new Uint8Array(PACKET_SIZE);
  return {
    async receive(payload, pages) {
      await receiver.receive(payload, pages);
      const right = again.subarray(0, pages.length);
      await software.receive(payload, right);
      if (nodeBuffer().Buffer.compare(pages, right) === 0) return;
      onCaught();
      pages.set(right);
    },
    counts: () => receiver.counts?.(),
    cleanup() {
      receiver.cleanup();
      software.cleanup();
    },
  };
}
