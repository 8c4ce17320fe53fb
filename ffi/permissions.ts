/**
 * Deno's permissions, asked before a native call that would not be asked itself. A
 * courtesy: who may load native code may do everything.
 */

type Kind = "net" | "read" | "write";

interface DenoPermissions {
  errors: { NotCapable: new (message: string) => Error };
  permissions: {
    requestSync(what: { name: Kind; host?: string; path?: string }): { state: string };
    querySync(what: { name: Kind | "ffi"; path: string }): { state: string };
  };
}

/**
 * Whether a file may be read, without asking anyone.
 *
 * @param path The file.
 * @returns Always true in runtimes without permissions.
 */
export function mayRead(path: string): boolean {
  const deno = (globalThis as { Deno?: DenoPermissions }).Deno;
  return deno === undefined ||
    deno.permissions.querySync({ name: "read", path }).state === "granted";
}

/**
 * Whether native code of a file or directory may be loaded, without asking anyone.
 *
 * @param path The file or directory.
 * @returns Always true in runtimes without permissions.
 */
export function mayLoad(path: string): boolean {
  const deno = (globalThis as { Deno?: DenoPermissions }).Deno;
  return deno === undefined ||
    deno.permissions.querySync({ name: "ffi", path }).state === "granted";
}

/**
 * Asks for what Deno itself would refuse only when nobody can catch it any more.
 *
 * @param kind What is done.
 * @param subject With which address or path.
 * @throws {Error} As Deno's own, of the name `NotCapable`, if it is not allowed.
 */
export function demand(kind: Kind, subject: string): void {
  if (allowed(kind, subject)) return;
  const { NotCapable } = (globalThis as unknown as { Deno: DenoPermissions }).Deno.errors;
  const what = `${kind} access to ${JSON.stringify(subject)}`;
  throw new NotCapable(`Requires ${what}, run again with the --allow-${kind} flag`);
}

/**
 * Whether something is allowed; asks the user where Deno would.
 *
 * @param kind What is done.
 * @param subject With which `HOST:PORT`, `unix:PATH` or path.
 * @returns Always true in runtimes without permissions.
 */
export function allowed(kind: Kind, subject: string): boolean {
  const deno = (globalThis as { Deno?: DenoPermissions }).Deno;
  if (deno === undefined) return true;
  const what = kind === "net" ? { name: kind, host: subject } : { name: kind, path: subject };
  return deno.permissions.requestSync(what).state === "granted";
}
