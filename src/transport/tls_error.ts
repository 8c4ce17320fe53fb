/** What went wrong in a TLS handshake, in the same words whatever library did it. */
import { HandshakeError } from "../errors.ts";

/** An error of the runtime's TLS; its codes are OpenSSL's, in Deno too. */
export type TlsError = Error & { code?: string };

/** The first that matches a code tells what it means. */
const MEANINGS: readonly (readonly [code: RegExp, meaning: string])[] = [
  [/^CERT_HAS_EXPIRED/, "peer's certificate has expired"],
  [/^CERT_NOT_YET_VALID/, "peer's certificate is not valid yet"],
  [/^INVALID_PURPOSE/, "peer's certificate is not for its side of a connection"],
  [
    /^(UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|CERT_|INVALID_CA)/,
    "peer's certificate is not signed by the CA, or not for this use",
  ],
  [/PEER_DID_NOT_RETURN_A_CERTIFICATE/, "peer sent no certificate"],
  [/ALERT_CERTIFICATE_REQUIRED/, "peer demands a certificate (--tls-cert, --tls-key)"],
  [/ALERT_(UNKNOWN_CA|BAD_CERT|CERT|UNSUPPORTED_CERT|ACCESS)/, "peer refused our certificate"],
  [/WRONG_VERSION_NUMBER/, "peer does not speak TLS"],
];

/** What a code means; undefined if it means nothing in particular. */
export function meaningOf(code: string | undefined): string | undefined {
  return MEANINGS.find(([pattern]) => pattern.test(code ?? ""))?.[1];
}

/**
 * Makes an error of a failed handshake.
 *
 * @param name The connection.
 * @param cause The runtime's error.
 * @param verdict The code of what is wrong with the peer's certificate, where that is known.
 */
export function handshakeError(
  name: string,
  cause: TlsError,
  verdict: string | undefined,
): HandshakeError {
  if (cause instanceof HandshakeError) return cause;
  const code = verdict ?? cause.code;
  const meaning = meaningOf(code) ?? cause.message;
  return new HandshakeError(`TLS handshake of ${name} failed: ${meaning}`, { code }, { cause });
}
