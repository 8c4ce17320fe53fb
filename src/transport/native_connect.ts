/** Connecting with the shim's sockets, in a thread that may not block. */
import { errorName, nativeIo } from "../../ffi/io.ts";
import type { Address } from "./address.ts";
import {
  longerPatience,
  nativePlace,
  notConnected,
  POLL_MS,
  PolledConnection,
  sleep,
} from "./native.ts";

/** Whether nobody need be asked where it is, for which a thread has to block. */
export function isNumeric(address: Address): boolean {
  return "path" in address || /^[\d.]+$|:/.test(address.host);
}

/**
 * Opens a connection; looks again and again whether it stands.
 *
 * @param address Where to; {@linkcode isNumeric}.
 * @param name What to call it in messages.
 * @param signal Gives up when aborted, with the signal's reason.
 * @throws {PeerClosedError} If nobody takes it.
 */
export async function connectPolled(
  address: Address,
  name: string,
  signal: AbortSignal,
): Promise<PolledConnection> {
  const io = nativeIo();
  const [host, port] = nativePlace(address);
  const resultOf = async (call: () => number): Promise<number> => {
    for (let patience = POLL_MS;; patience = longerPatience(patience)) {
      signal.throwIfAborted();
      const result = call();
      if (result >= 0) return result;
      if (errorName(result) !== "EAGAIN") throw notConnected(address, name, result);
      await sleep(patience);
    }
  };
  const fd = await resultOf(() => io.net_connect_begin(host, port));
  try {
    await resultOf(() => io.net_connect_end(fd));
    return new PolledConnection(fd, name);
  } catch (error) {
    io.io_close(fd);
    throw error;
  }
}
