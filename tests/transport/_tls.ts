/** What the tests of TLS connections share. */
import path from "node:path";
import { test } from "node:test";
import type { Connection, Listener } from "../../src/transport/connection.ts";
import { connectTls, listenTls } from "../../src/transport/tls.ts";
import { loadClientTls, loadServerTls } from "../../src/transport/tls_credentials.ts";
import { Authority, type Claims, type Identity, NO_OPENSSL } from "../_certificates.ts";
import { lastingDirectory } from "../migration/_migrate.ts";

/** The host that everyone is on. */
export const HERE = "127.0.0.1";
/** What a listener's certificate says. */
export const LISTENER: Claims = { hosts: [`IP:${HERE}`, "DNS:localhost"] };
const never = new AbortController().signal;

/** Where their files are. */
export const directory = lastingDirectory();
const authority = (name: string): Authority => new Authority(path.join(directory, name));
/** The CA that all believe, and another. */
export const [ca, otherCa] = NO_OPENSSL ? [] : [authority("ca"), authority("other")];

/** A test that needs certificates. */
export function tlsTest(name: string, run: () => void | Promise<void>): void {
  test(name, { skip: NO_OPENSSL }, run);
}

/** A listener, and what came of it. */
export interface Listening {
  port: number;
  listener: Listener;
  accepted: Connection[];
  failed: Error[];
  /** Waits for so many connections and failed handshakes together. */
  settled(count: number): Promise<void>;
}

/** Listens with TLS. */
export async function listening(
  identity: Identity,
  verifyPeer = false,
  most = 64,
): Promise<Listening> {
  const verify = verifyPeer ? { verifyPeer, ca: ca!.cert } : {};
  const accepted: Connection[] = [];
  const failed: Error[] = [];
  let look = (): void => {};
  const take = <T>(list: T[]) => (item: T): void => {
    list.push(item);
    look();
  };
  const listener = await listenTls(
    loadServerTls({ ...identity, ...verify }),
    { host: HERE, port: 0 },
    most,
    take(accepted),
    (error) => {
      throw error;
    },
    take(failed),
  );
  const settled = (count: number): Promise<void> =>
    new Promise((resolve) => {
      look = () => {
        if (accepted.length + failed.length >= count) resolve();
      };
      look();
    });
  return { port: Number(listener.address.split(":").at(-1)), listener, accepted, failed, settled };
}

/** Connects with TLS. */
export function connect(
  port: number,
  identity: Partial<Identity> = {},
  more: { ca?: string; hostname?: string } = {},
  signal = never,
): Promise<Connection> {
  const address = { host: HERE, port };
  const options = { ca: ca!.cert, ...identity, ...more };
  return connectTls(address, loadClientTls(options, address), "client", signal);
}
