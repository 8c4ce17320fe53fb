/** Choosing between the shim's sockets with channels in workers, and the runtime's own. */
import { fileURLToPath } from "node:url";
import { allowed, mayRead } from "../../ffi/permissions.ts";
import { nativeIo } from "../../ffi/io.ts";
import { WORKER_URL } from "../channels/channel_worker.ts";
import { EngineUnavailableError, OptionError } from "../errors.ts";
import { methodNames, qemuMethodNames } from "../methods/registry.ts";
import type { SharedRam } from "../ram/target.ts";
import { type Address, formatAddress } from "../transport/address.ts";

/** Which sockets the channels use. */
export type Transport = "auto" | "native" | "runtime";

/** Names that `--transport` takes. */
export const TRANSPORTS: readonly Transport[] = ["auto", "native", "runtime"];

/** What a migration needs of a transport. */
export interface TransportNeeds {
  /** The method; undefined if any may come. */
  method: string | undefined;
  /** Where the RAM is; undefined where a worker cannot reach it. */
  ram: SharedRam | undefined;
  /** The address to connect to or to listen on. */
  address: Address;
  /** Whether files are written, else read. */
  forWriting: boolean;
  /** Whether the connections are encrypted. */
  isEncrypted: boolean;
}

/**
 * Chooses a transport.
 *
 * @param transport What was asked for; undefined for `auto`.
 * @param needs What it is for.
 * @returns Whether the native one is used.
 * @throws {EngineUnavailableError} If it was asked for by name and cannot be used.
 */
export function usesNative(transport: Transport | undefined, needs: TransportNeeds): boolean {
  if (transport !== undefined && !TRANSPORTS.includes(transport)) {
    throw new OptionError(
      `Transport "${transport}" is unknown; there are: ${TRANSPORTS.join(", ")}`,
    );
  }
  if (transport === "runtime") return false;
  try {
    checkNative(needs, transport === "native");
    return true;
  } catch (error) {
    if (transport === "native" || !(error instanceof EngineUnavailableError)) throw error;
    return false;
  }
}

function checkNative(needs: TransportNeeds, isAskedFor: boolean): void {
  const { method, ram, address, forWriting, isEncrypted } = needs;
  const refuse = (why: string): never => {
    throw new EngineUnavailableError(`Cannot use the native transport: ${why}`);
  };
  if (isEncrypted) refuse("TLS is on the runtime's sockets only");
  nativeIo();
  // Deno lets a worker's modules load only from where it may read, or over HTTP
  const modules = new URL("../../", WORKER_URL);
  const folder = modules.protocol === "file:" ? fileURLToPath(modules) : undefined;
  if (folder !== undefined && !mayRead(folder)) refuse(`it needs --allow-read=${folder}`);
  // what a program registers, a worker does not know; who asks for native sockets does not expect a registered method to arrive
  const mayCome = isAskedFor ? [] : methodNames();
  const foreign = (method === undefined ? mayCome : [method])
    .find((name) => !qemuMethodNames.includes(name));
  if (foreign !== undefined) refuse(`method ${foreign} lives in this thread only`);
  if (ram === undefined) refuse("the image is not in files or shared memory");
  const place = formatAddress(address);
  if (!allowed("net", place)) refuse(`net access to ${place} is not granted, see --allow-net`);
  if (ram?.type !== "files") return;
  for (const { path: file } of ram.files) {
    const kind = forWriting ? "write" : "read";
    if (allowed(kind, file)) continue;
    refuse(`${kind} access to ${file} is not granted, see --allow-${kind}`);
  }
}
