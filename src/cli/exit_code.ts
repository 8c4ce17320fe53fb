/** What the command's exit codes mean. */
import { OptionError, PeerClosedError, ProtocolError, VerificationError } from "../errors.ts";

/** Exit codes: done, failed, usage, the peer broke the protocol, verification failed. */
export const EXIT = { done: 0, failed: 1, usage: 2, protocol: 3, verification: 4 } as const;

/** The exit code of an error. A peer that goes away too early has broken the protocol, too. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof OptionError) return EXIT.usage;
  if (error instanceof ProtocolError || error instanceof PeerClosedError) return EXIT.protocol;
  if (error instanceof VerificationError) return EXIT.verification;
  return EXIT.failed;
}
