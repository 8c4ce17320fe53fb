/** A payload back into pages, and what is wrong with it in the packet's terms. */
import { CodecError } from "../engines/engine.ts";
import { VerificationError } from "../errors.ts";
import type { MaybePromise } from "../maybe_promise.ts";
import type { MethodReceiver } from "../methods/method.ts";

const DESCRIPTION = {
  "bad data": "corrupt",
  "too short": "too short",
  "too long": "too long",
  "left-over input": "followed by left-over input",
} as const;

/** A payload as its packet announced it. */
export interface AnnouncedPayload {
  /** Name of the packet's method. */
  method: string;
  /** The packet's pages in its block, the normal ones first. */
  offsets: Float64Array;
  /** All of it. */
  payload: Uint8Array;
}

/**
 * Decodes a payload.
 *
 * @param receiver The method's receiving side on this channel.
 * @param announced The payload.
 * @param pages Where the pages go: exactly the packet's normal pages.
 * @throws {VerificationError} If it does not give them; where a page is to blame, with its offset.
 */
export function decodePayload(
  receiver: MethodReceiver,
  announced: AnnouncedPayload,
  pages: Uint8Array,
): MaybePromise<void> {
  try {
    const decoded = receiver.receive(announced.payload, pages);
    return decoded?.catch((error) => fail(error, announced));
  } catch (error) {
    fail(error, announced);
  }
}

/** Throws what is wrong with a payload in its packet's terms. */
function fail(error: unknown, { method, offsets }: AnnouncedPayload): never {
  if (!(error instanceof CodecError)) throw error;
  const { page, fault, expected, received, code } = error;
  const what = page === undefined ? "payload" : `page ${page} of the payload`;
  throw new VerificationError(
    `Cannot decode ${method}, ${what} is ${DESCRIPTION[fault]}`,
    { expected, received, code, offset: page === undefined ? undefined : offsets[page] },
    { cause: error },
  );
}
