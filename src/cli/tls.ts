/** TLS on the command line. */
import type { TlsOptions } from "../transport/tls_credentials.ts";
import type { Options, OptionSpec } from "./args.ts";

const ownOptions: Record<string, OptionSpec> = {
  "tls-cert": { kind: "text", value: "FILE", help: "our TLS certificate, a PEM file" },
  "tls-key": { kind: "text", value: "FILE", help: "its private key, a PEM file" },
};

/** What a sender takes. */
export const senderTlsOptions: Record<string, OptionSpec> = {
  "tls-ca": {
    kind: "text",
    value: "FILE",
    help: "encrypt, and believe only listeners with a certificate of this CA, a PEM file",
  },
  "tls-hostname": {
    kind: "text",
    value: "NAME",
    help: "the name in the listener's certificate (default the host of the address)",
  },
  ...ownOptions,
};

/** What a listener takes. */
export const listenerTlsOptions: Record<string, OptionSpec> = {
  ...ownOptions,
  "tls-ca": { kind: "text", value: "FILE", help: "the clients' CA, a PEM file" },
  "tls-verify-peer": { kind: "flag", help: "take only clients with a certificate of --tls-ca" },
};

/** How a migration is encrypted; undefined if no option asks for it. */
export function tlsOf(options: Options): TlsOptions | undefined {
  const tls: TlsOptions = {
    cert: options.text("tls-cert"),
    key: options.text("tls-key"),
    ca: options.text("tls-ca"),
    hostname: options.text("tls-hostname"),
    verifyPeer: options.flag("tls-verify-peer") || undefined,
  };
  return Object.values(tls).some((value) => value !== undefined) ? tls : undefined;
}
