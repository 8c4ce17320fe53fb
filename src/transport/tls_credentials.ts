/** Certificates and keys for TLS: read from files and checked before anyone is connected to. */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import fs from "node:fs";
import { CredentialsError, OptionError } from "../errors.ts";
import type { Address } from "./address.ts";

/** TLS on all connections of a migration, as QEMU's `tls-creds-x509` has it. Files are PEM. */
export interface TlsOptions {
  /** File of our certificate, and those between it and the CA's. Needed to listen. */
  cert?: string | undefined;
  /** File of the certificate's private key, without a passphrase. */
  key?: string | undefined;
  /** File of the CA certificates that a peer's must be signed by; no others count. */
  ca?: string | undefined;
  /** To connect: the name in the listener's certificate. Default the host of the address. */
  hostname?: string | undefined;
  /** To listen: takes only who shows a client certificate signed by `ca`. Default false. */
  verifyPeer?: boolean | undefined;
}

/** What a sender needs for TLS; certificates and keys are PEM texts. */
export interface ClientTls {
  ca: string;
  hostname: string;
  cert: string | undefined;
  key: string | undefined;
}

/** What a listener needs for TLS. */
export interface ServerTls {
  cert: string;
  key: string;
  /** Whose clients alone are taken; undefined takes all. */
  ca: string | undefined;
}

/**
 * Reads what it takes to connect.
 *
 * @param options The files.
 * @param address Where to: its host is what the certificate must be for.
 * @throws {OptionError} If something is missing or of no use.
 * @throws {CredentialsError} If a file cannot be used.
 */
export function loadClientTls(options: TlsOptions, address: Address): ClientTls {
  const { ca, verifyPeer } = options;
  const hostname = options.hostname ?? ("host" in address ? address.host : undefined);
  if (ca === undefined) throw new OptionError("TLS needs the listener's CA (--tls-ca)");
  if (verifyPeer !== undefined) throw new OptionError("Verifying clients is for a listener");
  if (hostname === undefined) {
    throw new OptionError("TLS over a unix socket needs the listener's name (--tls-hostname)");
  }
  return { ...loadOwn(options), ca: loadCa(ca), hostname };
}

/**
 * Reads what it takes to listen.
 *
 * @param options The files.
 * @throws {OptionError} If something is missing or of no use.
 * @throws {CredentialsError} If a file cannot be used.
 */
export function loadServerTls(options: TlsOptions): ServerTls {
  const { ca, hostname, verifyPeer = false } = options;
  if (hostname !== undefined) throw new OptionError("A TLS host name is for a sender");
  // who names a CA believes that it is asked
  if (verifyPeer !== (ca !== undefined)) {
    throw new OptionError("Verifying clients takes both --tls-verify-peer and --tls-ca");
  }
  const { cert, key } = loadOwn(options);
  if (cert === undefined || key === undefined) {
    throw new OptionError("TLS needs a certificate to listen (--tls-cert, --tls-key)");
  }
  return { cert, key, ca: ca === undefined ? undefined : loadCa(ca) };
}

function loadOwn({ cert, key }: TlsOptions): Pick<ClientTls, "cert" | "key"> {
  if (cert === undefined && key === undefined) return { cert, key };
  if (cert === undefined || key === undefined) {
    throw new OptionError("A TLS certificate and its key go together (--tls-cert, --tls-key)");
  }
  const own = { cert: readText(cert), key: readText(key) };
  const [leaf] = parseCertificates(own.cert, cert);
  checkTime(leaf!, cert);
  // Deno's TLS would find that out only when a peer comes
  if (!leaf!.checkPrivateKey(parseKey(own.key, key))) {
    throw new CredentialsError(`Private key ${key} is not the one of certificate ${cert}`);
  }
  return own;
}

function loadCa(file: string): string {
  const text = readText(file);
  const certificates = parseCertificates(text, file);
  if (certificates.length === 1) checkTime(certificates[0]!, file);
  return text;
}

function readText(file: string): string {
  try {
    return fs.readFileSync(file, "utf8");
  } catch (cause) {
    const { code } = cause as { code?: string };
    // not the system's error but a missing permission, which says what to do
    if (code === undefined) throw cause;
    throw new CredentialsError(`Cannot read ${file}`, { code }, { cause });
  }
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

function parseCertificates(text: string, file: string): X509Certificate[] {
  const blocks = text.match(CERTIFICATE) ?? [];
  if (blocks.length === 0) throw new CredentialsError(`File ${file} holds no PEM certificate`);
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (cause) {
    throw new CredentialsError(`Certificate in ${file} cannot be read`, {}, { cause });
  }
}

function parseKey(text: string, file: string): KeyObject {
  try {
    return createPrivateKey(text);
  } catch (cause) {
    const what = "PEM private key without a passphrase";
    throw new CredentialsError(`File ${file} holds no ${what}`, {}, { cause });
  }
}

function checkTime({ validFrom, validTo }: X509Certificate, file: string): void {
  if (Date.now() > Date.parse(validTo)) {
    throw new CredentialsError(`Certificate ${file} has expired: it was valid until ${validTo}`);
  }
  if (Date.now() < Date.parse(validFrom)) {
    throw new CredentialsError(`Certificate ${file} is not valid before ${validFrom}`);
  }
}
