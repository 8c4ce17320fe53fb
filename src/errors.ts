/**
 * The named errors of this module: one class for each thing a caller would
 * catch separately, each with its facts as fields.
 *
 * @module
 */

/** Where an error happened and what was seen there. Every field is optional. */
export interface ErrorFacts {
  /** `"main"` or the number of a multifd channel. */
  channel?: number | "main" | undefined;
  /** Ordinal of the packet on its channel, counted from 0. */
  packet?: number | undefined;
  /** Name of the RAM block. */
  block?: string | undefined;
  /** Offset in bytes: in the block where one is named, else in the stream. */
  offset?: number | undefined;
  /** What should have been there. */
  expected?: string | number | undefined;
  /** What was there. */
  received?: string | number | undefined;
  /** The system's, the library's or QEMU's own code: `ENOSPC`, `Z_DATA_ERROR`, `GenericError`. */
  code?: string | undefined;
  /** QEMU's own words. */
  desc?: string | undefined;
  /** What QEMU said of its guest after the failure, e.g. `running`. */
  guest?: string | undefined;
}

function render(summary: string, facts: ErrorFacts): string {
  let text = summary;
  if (facts.expected !== undefined) text += `: expected ${facts.expected}`;
  if (facts.received !== undefined) {
    text += `${facts.expected === undefined ? ":" : ","} received ${facts.received}`;
  }
  const where: string[] = [];
  if (facts.channel !== undefined) {
    where.push(facts.channel === "main" ? "main channel" : `channel ${facts.channel}`);
  }
  if (facts.packet !== undefined) where.push(`packet ${facts.packet}`);
  if (facts.block !== undefined) where.push(`block "${facts.block}"`);
  if (facts.offset !== undefined) where.push(`offset 0x${facts.offset.toString(16)}`);
  if (facts.code !== undefined) where.push(facts.code);
  if (facts.guest !== undefined) where.push(`the guest is ${facts.guest}`);
  return where.length > 0 ? `${text} (${where.join(", ")})` : text;
}

/** Base of every error this module throws on purpose. */
export class MultifdError extends Error {
  /** The facts, for programs; the message has them for people. */
  readonly facts: ErrorFacts;
  /** What it says without the facts. */
  readonly summary: string;

  /**
   * Makes an error of its facts.
   *
   * @param summary What cannot be done or what was wrong, without the facts.
   * @param facts Where, and what was expected and received.
   * @param options As for `Error`, e.g. `cause`.
   */
  constructor(summary: string, facts: ErrorFacts = {}, options?: ErrorOptions) {
    super(render(summary, facts), options);
    this.name = new.target.name;
    this.facts = { ...facts };
    this.summary = summary;
  }

  /**
   * Adds facts that the thrower did not know, e.g. the channel; known facts stay.
   *
   * @param facts The facts to add.
   * @returns This error, to throw on.
   */
  locate(facts: ErrorFacts): this {
    Object.assign(this.facts, { ...facts, ...this.facts });
    this.message = render(this.summary, this.facts);
    return this;
  }
}

/** The peer sent something the protocol does not allow. */
export class ProtocolError extends MultifdError {}

/** The peer used a feature of the protocol that this module refuses by name. */
export class UnsupportedError extends ProtocolError {}

/** A TLS handshake failed: the peer is not who it should be, or does not take us for that. */
export class HandshakeError extends ProtocolError {}

/** The peer closed or reset a connection before the migration was over. */
export class PeerClosedError extends MultifdError {}

/** The peer says that it failed; why is in its own messages. */
export class PeerFailedError extends MultifdError {}

/** A QEMU that we drive refused a command, failed its migration, or is in no state for it. */
export class QemuError extends MultifdError {}

/** Data arrived whole but is not what it says: bad compressed data, a wrong size, a wrong hash. */
export class VerificationError extends MultifdError {}

/** No engine here can do what was asked; the message says what to do. */
export class EngineUnavailableError extends MultifdError {}

/** An engine failed at its own work. */
export class EngineError extends MultifdError {}

/** Nothing moved for as long as the timeout allows. */
export class TimedOutError extends MultifdError {}

/** The caller's `AbortSignal` ended the migration. */
export class CancelledError extends MultifdError {}

/** An image cannot be read, written or trusted: a full disk, a file changed meanwhile. */
export class ImageError extends MultifdError {}

/** A certificate or key of ours cannot be used. */
export class CredentialsError extends MultifdError {}

/** An option is out of its range or does not go with another. */
export class OptionError extends MultifdError {}

/** An error as it crosses from a worker: a clone keeps neither class nor fields. */
export interface ErrorMessage {
  /** Name of its class. */
  name: string;
  /** Its message, for errors of other classes. */
  message: string;
  /** Its summary, where it is one of this module's. */
  summary: string | undefined;
  /** Its facts. */
  facts: ErrorFacts;
}

/** Takes an error apart, to be posted to another thread. */
export function packError(error: unknown): ErrorMessage {
  const { name, message, stack } = error as Error;
  if (error instanceof MultifdError) {
    return { name, message, summary: error.summary, facts: error.facts };
  }
  return { name, message: stack ?? message, summary: undefined, facts: {} };
}

/** Puts an error together again. */
export function unpackError({ name, message, summary, facts }: ErrorMessage): Error {
  const Class = ERRORS.find((Class) => Class.name === name);
  return Class === undefined ? new Error(message) : new Class(summary ?? message, facts);
}

const ERRORS: readonly (typeof MultifdError)[] = [
  ProtocolError,
  UnsupportedError,
  HandshakeError,
  PeerClosedError,
  PeerFailedError,
  QemuError,
  VerificationError,
  EngineUnavailableError,
  EngineError,
  TimedOutError,
  CancelledError,
  ImageError,
  CredentialsError,
  OptionError,
];
