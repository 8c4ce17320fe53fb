/** `receive()`: listens, and takes one migration. */
import fs from "node:fs";
import path from "node:path";
import { ImageError, OptionError } from "../errors.ts";
import { imageError } from "../ram/files.ts";
import { checkFormat, type ImageFormat, makeImage } from "../ram/image_format.ts";
import type { ManifestSource } from "../ram/manifest.ts";
import type { MemoryImage } from "../ram/memory_image.ts";
import type { RamTarget, SharedRam } from "../ram/target.ts";
import { isLocal, parseAddress } from "../transport/address.ts";
import type { Connection, Listener } from "../transport/connection.ts";
import { RecordedConnection } from "../transport/recording.ts";
import { listenNatively, type Watch } from "../transport/native_listener.ts";
import { listen } from "../transport/runtime.ts";
import type { TlsOptions } from "../transport/tls_credentials.ts";
import { mostArrivals } from "./arrivals.ts";
import type { EventHandler, Received } from "./info.ts";
import {
  checkChannels,
  checkMethod,
  checkTimeout,
  checkUuid,
  DEFAULT_MAX_CHANNELS,
  DEFAULT_TIMEOUT,
} from "./options.ts";
import { Receiver } from "./receiver.ts";
import { type Transport, usesNative } from "./transports.ts";

/** What {@linkcode receive} is told. */
export interface ReceiveOptions {
  /** Where to listen: `HOST:PORT`, `[V6]:PORT` or `unix:PATH`; port 0 takes any. */
  listen: string;
  /** Where the RAM goes: a path where nothing is yet, or memory. */
  into: string | MemoryImage;
  /**
   * What is made at the path: a directory with a manifest, or a mapped-ram file, which a QEMU
   * loads with `-incoming file:`. Default `directory`.
   */
  format?: ImageFormat | undefined;
  /** The one method to take. Default: what arrives. */
  method?: string | undefined;
  /** How many channels will come, 1 to 255. Default: as many as are open at the first sync. */
  channels?: number | undefined;
  /** Most channels to take where `channels` is not told, 1 to 255. Default 64. */
  maxChannels?: number | undefined;
  /** Engine to decompress with. Default `auto`. */
  engine?: string | undefined;
  /** Whether software may step in for a device that is busy or fails. Default true. */
  fallback?: boolean | undefined;
  /** Has software decompress, too, what a device did, and compares. Default false. */
  verify?: boolean | undefined;
  /**
   * `native`: the shim's sockets, a worker for each channel, at most one a core; `runtime`: the
   * runtime's own sockets, all in this thread. Default `auto`: native where it can be used, but for a
   * recording.
   */
  transport?: Transport | undefined;
  /** Takes encrypted connections only. Only on the runtime's own sockets. */
  tls?: TlsOptions | undefined;
  /** The one guest to take, by its uuid of 16 bytes. Default: any. */
  uuid?: Uint8Array | undefined;
  /** Most bytes of guest RAM. Default 1 TiB. */
  maxRam?: number | undefined;
  /** Pages that never arrived: an error, or taken as zero and counted. Default `error`. */
  missing?: "error" | "zero" | undefined;
  /** Whether the blocks of a directory or a file are hashed. Default `sha256`. */
  hash?: "sha256" | "none" | undefined;
  /** What is known of the source besides what it sends, for a directory's manifest. */
  source?: ManifestSource | undefined;
  /** A directory, new or empty, that gets every connection's bytes. */
  record?: string | undefined;
  /** Longest time without progress, in milliseconds; 0 for none. Default 60,000. */
  timeout?: number | undefined;
  /** Longest time until the source connects, in milliseconds; 0 for none. Default 0. */
  acceptTimeout?: number | undefined;
  /** Cancels the migration. */
  signal?: AbortSignal | undefined;
  /** Takes the migration's events; `listening` tells the address. */
  onEvent?: EventHandler | undefined;
}

/** Listens with TLS, which is loaded where it is used: it takes a tenth of a start. */
async function tlsListener(options: TlsOptions) {
  const { loadServerTls } = await import("../transport/tls_credentials.ts");
  const { listenTls } = await import("../transport/tls.ts");
  const tls = loadServerTls(options);
  return listenTls.bind(undefined, tls);
}

/**
 * Receives one migration from {@linkcode send} or a QEMU.
 *
 * @param options Where to listen and where the RAM goes.
 * @returns What was received, once it is complete, verified and, at a path, on disk.
 * @throws {OptionError} If an option is out of range.
 * @throws {CredentialsError} If a certificate or key cannot be used.
 * @throws {ImageError} If the image cannot be made, e.g. the name is taken or the disk full.
 * @throws {ProtocolError} If the source does not keep to the protocol.
 * @throws {VerificationError} If a payload is not what it says.
 * @throws {PeerClosedError} If the source goes away.
 * @throws {EngineUnavailableError} If `engine` or `transport` cannot be used here.
 * @throws {TimedOutError} If nothing moves for `timeout`.
 * @throws {CancelledError} If `signal` is aborted.
 *
 * @example
 * ```ts no-eval
 * import { receive } from "@multifd/multifd";
 *
 * const vm = await receive({ listen: "127.0.0.1:4444", into: "guest" });
 * for (const { name, sha256 } of vm.blocks) console.log(name, sha256);
 * ```
 */
export async function receive(options: ReceiveOptions): Promise<Received> {
  const address = parseAddress(options.listen);
  const channels = options.channels === undefined ? undefined : checkChannels(options.channels);
  const maxChannels = options.maxChannels === undefined
    ? undefined
    : checkChannels(options.maxChannels);
  if (options.method !== undefined) checkMethod(options.method);
  const timeout = checkTimeout(options.timeout ?? DEFAULT_TIMEOUT);
  const acceptTimeout = checkTimeout(options.acceptTimeout ?? 0);
  const listenTls = options.tls && await tlsListener(options.tls);
  if (options.uuid !== undefined) checkUuid(options.uuid);
  const { record } = options;
  if (record !== undefined) prepareRecording(record);
  const isNative = usesNative(record === undefined ? options.transport : "runtime", {
    method: options.method,
    ram: sharedRam(options.into),
    address,
    forWriting: true,
    isEncrypted: listenTls !== undefined,
  });
  const target = makeTarget(options);
  let listener: Listener | undefined;
  let stopWatching = (): void => {};
  const receiver = new Receiver({
    target,
    method: options.method,
    channels,
    maxChannels,
    engine: options.engine,
    fallback: options.fallback,
    verify: options.verify,
    uuid: options.uuid,
    maxRam: options.maxRam,
    missingAsZero: options.missing === "zero",
    timeout,
    acceptTimeout,
    isNative,
    transport: isNative ? "native" : "runtime",
    source: options.source,
    signal: options.signal,
    onEvent: options.onEvent,
    drain: async () => await listener?.drain(),
    stopWatching: () => stopWatching(),
    onIdentified: (connection, name) => {
      if (connection instanceof RecordedConnection) connection.keepAs(`${name}.bin`);
    },
  });
  const accept = (connection: Connection): void => {
    receiver.add(
      record === undefined ? connection : new RecordedConnection(connection, record),
    );
  };
  const warn = (message: string): void => options.onEvent?.({ type: "warning", message });
  const done = receiver.run();
  try {
    const onError = (error: Error): void => receiver.fail(error);
    if (isNative) {
      const watch: Watch = (socket, begin) => receiver.watch(socket, begin);
      const native = listenNatively(address, accept, onError, watch);
      stopWatching = () => native.stopWatching();
      listener = native;
    } else if (listenTls === undefined) {
      listener = await listen(address, accept, onError);
    } else {
      const most = mostArrivals(channels ?? maxChannels ?? DEFAULT_MAX_CHANNELS);
      const onFailed = (error: Error): void => receiver.ignore(error);
      listener = await listenTls(address, most, accept, onError, onFailed);
    }
    options.onEvent?.({ type: "listening", address: listener.address });
    rehearseSoon();
    if (listenTls === undefined && !isLocal(address)) {
      warn("listening beyond this machine without TLS: who sees the wire sees the guest's memory");
    }
  } catch (error) {
    receiver.fail(error);
  }
  try {
    const received = await done;
    if (record !== undefined) finishRecording(record, received);
    return received;
  } finally {
    listener?.close();
  }
}

/** Not before somebody can connect; a rehearsal that fails is no failure of the migration. */
function rehearseSoon(): void {
  setTimeout(() => {
    import("./rehearsal.ts").then(({ rehearse }) => rehearse()).catch(() => {});
  }, 0);
}

function makeTarget({ into, format, hash }: ReceiveOptions): RamTarget {
  if (typeof into === "string") {
    return makeImage(checkFormat(format ?? "directory"), into, hash !== "none");
  }
  if (format === undefined) return into;
  throw new OptionError(`Format "${format}" is for a path, and the RAM goes into memory`);
}

/** Where the RAM will be, as far as it is known before it comes. */
function sharedRam(into: ReceiveOptions["into"]): SharedRam | undefined {
  if (typeof into === "string") {
    return { type: "files", files: [{ path: path.resolve(into), byteOffset: 0 }] };
  }
  return into.share();
}

function prepareRecording(directory: string): void {
  fs.mkdirSync(directory, { recursive: true });
  if (fs.readdirSync(directory).length === 0) return;
  throw new ImageError(`Cannot record into ${directory}: it is not empty`);
}

/** What the recording must give when it is played back. */
function finishRecording(directory: string, received: Received): void {
  const streams = received.perChannel.map(({ id, bytes }) => [`ch${id}.bin`, { bytes, id }]);
  const blocks = received.blocks.map((
    { name, usedLength, sha256 },
  ) => [name, { used_length: usedLength, sha256: sha256 ?? null }]);
  const expected = {
    machine: received.machine,
    method: received.method,
    channels: received.channels,
    page_size: received.ram.pageSize,
    sync_rounds: received.ram.dirtySyncCount,
    streams: Object.fromEntries(streams),
    blocks: Object.fromEntries(blocks),
    device_state_bytes: received.tail.bytes.length,
    vmdesc_bytes: received.tail.descriptionBytes,
  };
  try {
    fs.writeFileSync(
      path.join(directory, "expected.json"),
      `${JSON.stringify(expected, null, 1)}\n`,
    );
  } catch (error) {
    // the source was told to forget its guest already
    throw imageError("The image is complete, but not the recording", directory, error);
  }
}
