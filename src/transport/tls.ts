/** TLS on the runtime's sockets: each connection does its own handshake, as in QEMU. */
import net from "node:net";
import tls from "node:tls";
import { HandshakeError, type MultifdError, ProtocolError } from "../errors.ts";
import { hex } from "../protocol/bytes.ts";
import type { Address } from "./address.ts";
import { CipherStream } from "./cipher_stream.ts";
import type { Connection, Listener } from "./connection.ts";
import { connectSocket, listenForSockets, SocketConnection } from "./runtime.ts";
import type { ClientTls, ServerTls } from "./tls_credentials.ts";
import { handshakeError, meaningOf, type TlsError } from "./tls_error.ts";

/** How long a handshake may take, in milliseconds. */
export const HANDSHAKE_MS = 10_000;
/** How long TLS may take to say why a peer has left, in milliseconds. */
const REASON_MS = 100;
/** How long a peer may take to close when we have, in milliseconds. */
const CLOSING_MS = 1000;

/** First byte of a record: one of these in a handshake. */
const [ALERT, HANDSHAKE] = [0x15, 0x16];
/** What TLS says to who does not speak it: alert, fatal, protocol_version. */
const NOT_TLS = Uint8Array.of(ALERT, 3, 1, 0, 2, 2, 70);

const OLDEST = "TLSv1.2";

/** What a peer that leaves may mean, to who connected and to who listens. */
const NO_ANSWER = "peer closed the connection, does it speak TLS?";
const NO_TRUST = "peer closed the connection, it may not trust our certificate";

/** A connection that is encrypted. */
class TlsConnection extends SocketConnection {
  readonly #secured: tls.TLSSocket;
  readonly #stream: CipherStream;
  readonly #isClient: boolean;

  constructor(secured: tls.TLSSocket, stream: CipherStream, name: string, isClient: boolean) {
    super(secured, name);
    this.#secured = secured;
    this.#stream = stream;
    this.#isClient = isClient;
    stream.on("error", (error) => secured.destroy(error));
  }

  protected override explain(cause: TlsError): MultifdError {
    if (!cause.code?.startsWith("ERR_SSL")) return super.explain(cause);
    // since TLS 1.3 a listener looks at the client's certificate when that is done already
    if (meaningOf(cause.code) !== undefined) return handshakeError(this.name, cause, undefined);
    return new ProtocolError(`Peer broke TLS on ${this.name}`, { code: cause.code }, { cause });
  }

  protected override hold(): void {
    this.#stream.hold();
  }

  protected override release(): void {
    this.#stream.release();
  }

  /** With close_notify, unless something has failed: then the peer sees that it was cut off. */
  protected override drop(hasFailed: boolean): void {
    if (hasFailed) {
      this.#secured.destroy();
      this.#stream.destroy();
      return;
    }
    this.#secured.removeAllListeners("data").resume();
    this.release();
    this.#secured.end();
    const timer = setTimeout(() => this.drop(true), CLOSING_MS);
    timer.unref();
    this.#stream.once("close", () => clearTimeout(timer));
  }

  override async write(bytes: Uint8Array, more?: Uint8Array): Promise<void> {
    await super.write(bytes, more);
    try {
      await this.#stream.drained();
    } catch (error) {
      throw this.explain(error as Error);
    }
  }

  override async readSome(): Promise<Uint8Array | undefined> {
    try {
      const bytes = await super.readSome();
      if (bytes !== undefined || !this.#isRefused()) return bytes;
    } catch (error) {
      if (error instanceof HandshakeError || !this.#isRefused()) throw error;
    }
    throw new HandshakeError(
      `Peer closed ${this.name} right after the TLS handshake: it may not take our certificate`,
    );
  }

  /** Whether the end of what is read may mean that: who does take it says something. */
  #isRefused(): boolean {
    return this.#isClient && this.bytesRead === 0;
  }
}

/** A handshake's way to end; only the first counts. */
interface Outcome {
  done(secured: tls.TLSSocket): void;
  fail(error: TlsError, verdict?: string): void;
}

/**
 * Watches over a handshake.
 *
 * @param socket What carries it.
 * @param name The connection.
 * @param isClient Whether it is the one that connected.
 * @param signal Gives up when aborted, with the signal's reason.
 * @param begin Has the runtime do it.
 * @throws {HandshakeError} If it fails.
 */
function handshake(
  socket: net.Socket,
  name: string,
  isClient: boolean,
  signal: AbortSignal,
  begin: (stream: CipherStream, outcome: Outcome) => void,
): Promise<Connection> {
  return new Promise((resolve, reject) => {
    let isOver = false;
    const end = (): boolean => {
      if (isOver) return false;
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      return isOver = true;
    };
    const giveUp = (error: Error): void => {
      if (!end()) return;
      reject(error);
      stream.destroy();
    };
    const failed = (why: string): void =>
      giveUp(new HandshakeError(`TLS handshake of ${name} failed: ${why}`));
    const fail = (error: TlsError, verdict?: string): void => {
      const hasLeft = verdict === undefined && /^(ECONNRESET|EPIPE)$/.test(error.code ?? "");
      if (hasLeft) failed(isClient ? NO_ANSWER : NO_TRUST);
      else giveUp(handshakeError(name, error, verdict));
    };
    const onAbort = (): void => giveUp(signal.reason);
    const onLeft = (): void =>
      void setTimeout(() => failed(isClient ? NO_ANSWER : NO_TRUST), REASON_MS);
    const timer = setTimeout(
      () => failed(`it took longer than ${HANDSHAKE_MS / 1000} s, does the peer speak TLS?`),
      HANDSHAKE_MS,
    );
    signal.addEventListener("abort", onAbort);
    socket.once("end", onLeft);
    const stream = new CipherStream(socket, (first) => {
      if (first === HANDSHAKE || first === ALERT) return true;
      const why = `peer does not speak TLS, its first byte is ${hex(first)}`;
      if (isClient) failed(why);
      else socket.write(NOT_TLS, () => failed(why));
      return false;
    });
    stream.once("close", onLeft);
    stream.on("error", (error) => fail(error));
    const done = (secured: tls.TLSSocket): void => {
      if (end()) resolve(new TlsConnection(secured, stream, name, isClient));
    };
    begin(stream, { done, fail });
    if (signal.aborted) onAbort();
  });
}

/**
 * Opens a connection and does the handshake.
 *
 * @param address Where to.
 * @param credentials Whom to believe, and what to show.
 * @param name What to call it in messages.
 * @param signal Gives up when aborted, with the signal's reason.
 * @throws {PeerClosedError} If nobody takes it.
 * @throws {HandshakeError} If the handshake fails or the peer is not the one that is meant.
 */
export async function connectTls(
  address: Address,
  credentials: ClientTls,
  name: string,
  signal: AbortSignal,
): Promise<Connection> {
  const { hostname, ...files } = credentials;
  const socket = await connectSocket(address, name, signal);
  return await handshake(socket, name, true, signal, (stream, { done, fail }) => {
    const secured = tls.connect({
      ...files,
      socket: stream,
      minVersion: OLDEST,
      rejectUnauthorized: true,
      // an address is no server name, and is not told as one
      servername: net.isIP(hostname) === 0 ? hostname : "",
      checkServerIdentity: (_, certificate) => checkHost(name, hostname, certificate),
    });
    secured.on("error", (error) => fail(error));
    secured.once("secureConnect", () => done(secured));
  });
}

function checkHost(
  name: string,
  hostname: string,
  certificate: tls.PeerCertificate,
): Error | undefined {
  if (tls.checkServerIdentity(hostname, certificate) === undefined) return undefined;
  const { subjectaltname, subject } = certificate;
  return new HandshakeError(
    `TLS handshake of ${name} failed: peer's certificate is for another host (--tls-hostname)`,
    { expected: hostname, received: subjectaltname ?? String(subject?.CN ?? "no name") },
  );
}

/**
 * Listens, and hands on who has done the handshake. A failed one ends nothing: whoever cannot
 * prove itself shall not be able to disturb.
 *
 * @param credentials What to show, and whom to take.
 * @param address Where; port 0 takes any.
 * @param most Most handshakes at once; one more drops the oldest.
 * @param onConnection Gets each connection.
 * @param onError Gets an error of the listener itself.
 * @param onFailed Gets the error of each failed handshake.
 * @throws {PeerClosedError} If the address cannot be had.
 */
export async function listenTls(
  credentials: ServerTls,
  address: Address,
  most: number,
  onConnection: (connection: Connection) => void,
  onError: (error: Error) => void,
  onFailed: (error: Error) => void,
): Promise<Listener> {
  const handshakes = new Map<AbortController, Promise<void>>();
  let isClosed = false;
  const take = (socket: net.Socket, name: string, signal: AbortSignal): Promise<void> =>
    accept(socket, credentials, name, signal).then(onConnection, (error) => {
      if (!isClosed) onFailed(error);
    });
  const listener = await listenForSockets(address, (socket, name) => {
    if (handshakes.size >= most) {
      const [oldest] = handshakes.keys();
      handshakes.delete(oldest!);
      oldest!.abort(new HandshakeError(`TLS handshake was dropped: ${most} newer ones came`));
    }
    const handshake = new AbortController();
    const taken = take(socket, name, handshake.signal).finally(() => handshakes.delete(handshake));
    handshakes.set(handshake, taken);
  }, onError);
  return {
    address: listener.address,
    async drain() {
      await listener.drain();
      await Promise.all(handshakes.values());
    },
    close() {
      isClosed = true;
      for (const handshake of handshakes.keys()) handshake.abort();
      listener.close();
    },
  };
}

function accept(
  socket: net.Socket,
  { ca, ...own }: ServerTls,
  name: string,
  signal: AbortSignal,
): Promise<Connection> {
  const mustProve = ca !== undefined;
  return handshake(socket, name, false, signal, (stream, { done, fail }) => {
    const server = tls.createServer({
      ...own,
      ...(mustProve ? { ca } : {}),
      minVersion: OLDEST,
      requestCert: mustProve,
      rejectUnauthorized: mustProve,
      handshakeTimeout: HANDSHAKE_MS,
    });
    // Deno tells only here what is wrong with a certificate, and as a code
    server.on("tlsClientError", (error, { authorizationError }) => {
      const verdict: unknown = authorizationError;
      fail(error, typeof verdict === "string" ? verdict : undefined);
    });
    server.once("secureConnection", (secured) => {
      if (!mustProve || secured.authorized) done(secured);
      else fail(new HandshakeError(`TLS handshake of ${name} failed: peer proved nothing`));
    });
    server.emit("connection", stream);
  });
}
