/** Addresses as people write them. */
import { OptionError } from "../errors.ts";

/** A parsed address. */
export type Address = { host: string; port: number } | { path: string };

/**
 * Parses `HOST:PORT`, `[V6]:PORT` or `unix:PATH`; QEMU's `tcp:` in front is allowed.
 *
 * @param text The address.
 * @returns Its parts.
 * @throws {OptionError} If it is none of these.
 */
export function parseAddress(text: string): Address {
  if (text.startsWith("unix:") && text.length > 5) return { path: text.slice(5) };
  const match = /^(?:tcp:)?(?:\[([0-9A-Fa-f:.%\w]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65535) {
    throw new OptionError(`Address "${text}" is none: write HOST:PORT, [V6]:PORT or unix:PATH`);
  }
  return { host: match[1] ?? match[2]!, port };
}

/** Whether only this machine can reach it. */
export function isLocal(address: Address): boolean {
  return "path" in address || /^(localhost|127(\.\d+){3}|::1)$/i.test(address.host);
}

/** Writes an address as it is parsed. */
export function formatAddress(address: Address): string {
  if ("path" in address) return `unix:${address.path}`;
  const { host, port } = address;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
