/** `send()`: an image goes to whoever listens. */
import { SendingChannelInWorker } from "../channels/channel_in_worker.ts";
import { ChannelWorkers } from "../channels/channel_workers.ts";
import { RateLimit } from "../channels/rate_limit.ts";
import type { ZeroPages } from "../channels/sending_channel.ts";
import { SendingChannelHere } from "../channels/sending_channel_here.ts";
import { nodeNet } from "../builtin_modules.ts";
import { selectEngine } from "../engines/select.ts";
import { OptionError } from "../errors.ts";
import { encodeWireName } from "../protocol/bytes.ts";
import type { SyncMode } from "../protocol/main_channel.ts";
import type { RamBlock } from "../protocol/ram_packet.ts";
import { parseVmTail } from "../protocol/vm_tail.ts";
import { ImageFiles } from "../ram/image_files.ts";
import { isMigrationFile, MappedRamSource } from "../ram/mapped_ram_source.ts";
import type { MemoryImage } from "../ram/memory_image.ts";
import type { RamSource } from "../ram/target.ts";
import { type Address, parseAddress } from "../transport/address.ts";
import type { Connection } from "../transport/connection.ts";
import { connectPolled, isNumeric } from "../transport/native_connect.ts";
import { connect } from "../transport/runtime.ts";
import type { TlsOptions } from "../transport/tls_credentials.ts";
import { type Transport, usesNative } from "./transports.ts";
import type { EventHandler, MigrationInfo } from "./info.ts";
import {
  checkBandwidth,
  checkChannels,
  checkLevel,
  checkMethod,
  checkPageSize,
  checkTimeout,
  DEFAULT_TIMEOUT,
} from "./options.ts";
import { Sender } from "./sender.ts";

/** What {@linkcode send} is told. */
export interface SendOptions {
  /**
   * The RAM: a raw file (the block `pc.ram`), several `NAME=FILE`, a directory that
   * {@linkcode receive} wrote, a mapped-ram file, or memory.
   */
  image: string | readonly string[] | MemoryImage;
  /** Where to: `HOST:PORT`, `[V6]:PORT` or `unix:PATH`. */
  to: string;
  /** Compression method: `none`, `zlib`, `zstd`, `qpl`, `uadk`, `qatzip`. Default `zstd`. */
  method?: string | undefined;
  /** Compression level in the method's terms. Default 1 where it has levels. */
  level?: number | undefined;
  /** Number of channels, 1 to 255. Default 2, as in QEMU. */
  channels?: number | undefined;
  /** Engine to compress with. Default `auto`. */
  engine?: string | undefined;
  /** Whether software may step in for a device that is busy or fails. Default true. */
  fallback?: boolean | undefined;
  /** Decompresses everything that was compressed before it is sent. Default false. */
  verify?: boolean | undefined;
  /**
   * `native`: the shim's sockets, a worker for each channel, at most one a core; `runtime`: the
   * runtime's own sockets, all in this thread. Default `auto`: native where it can be used.
   */
  transport?: Transport | undefined;
  /** Encrypts every connection, and checks who listens. Only on the runtime's own sockets. */
  tls?: TlsOptions | undefined;
  /** Where zero pages travel. Default `multifd`; `legacy` where `sync` is `section`. */
  zeroPages?: ZeroPages | undefined;
  /** How the destination expects syncs to be marked. Default `round`. */
  sync?: SyncMode | undefined;
  /** Page size in bytes. Default the image's own, else 4096. */
  pageSize?: number | undefined;
  /** Most bytes of RAM in a mapped-ram file. Default 1 TiB. */
  maxRam?: number | undefined;
  /** Machine type; QEMU refuses another than its own. Default the image's own, else `none`. */
  machine?: string | undefined;
  /** The guest's uuid, 16 bytes; QEMU refuses another than its own. Default the image's own. */
  uuid?: Uint8Array | undefined;
  /**
   * Most bytes per second over all channels together, as QEMU's max-bandwidth; at least
   * 131,072. Default no limit.
   */
  maxBandwidth?: number | undefined;
  /** Lets qpl, uadk and zstd at level 1 compress more, more slowly. Default false. */
  dense?: boolean | undefined;
  /** Lets uadk compress; a QEMU without the Kunpeng device cannot read that. Default false. */
  uadkCompress?: boolean | undefined;
  /** Longest time without progress, in milliseconds; 0 for none. Default 60,000. */
  timeout?: number | undefined;
  /** Cancels the migration. */
  signal?: AbortSignal | undefined;
  /** Takes the migration's events. */
  onEvent?: EventHandler | undefined;
}

/** Opens a connection. */
type Open = (name: string, signal: AbortSignal) => Promise<Connection>;

/** TLS is loaded where it is used: it takes a tenth of a start. */
async function tlsConnector(options: TlsOptions, to: Address): Promise<Open> {
  const { loadClientTls } = await import("../transport/tls_credentials.ts");
  const { connectTls } = await import("../transport/tls.ts");
  const tls = loadClientTls(options, to);
  return (name, signal) => connectTls(to, tls, name, signal);
}

/**
 * Sends an image to a multifd destination, {@linkcode receive} or a QEMU.
 *
 * @param options What to send, where and how.
 * @returns The figures, once the destination has said that it holds everything.
 * @throws {OptionError} If an option is out of range.
 * @throws {CredentialsError} If a certificate or key cannot be used.
 * @throws {ImageError} If the image cannot be read or changes meanwhile.
 * @throws {EngineUnavailableError} If no engine can do the method.
 * @throws {PeerClosedError} If nobody listens, or the destination goes away.
 * @throws {HandshakeError} If TLS fails, e.g. because another host listens.
 * @throws {PeerFailedError} If the destination says that it failed.
 * @throws {TimedOutError} If nothing moves for `timeout`.
 * @throws {CancelledError} If `signal` is aborted.
 *
 * @example
 * ```ts no-eval
 * import { send } from "@multifd/multifd";
 *
 * const info = await send({ image: "guest.ram", to: "127.0.0.1:4444", method: "zstd" });
 * console.log(`${info.ram.transferred} bytes in ${info.totalTime} ms`);
 * ```
 */
export async function send(options: SendOptions): Promise<MigrationInfo> {
  const to = parseAddress(options.to);
  const method = checkMethod(options.method ?? "zstd");
  const level = checkLevel(method, options.level);
  const channels = checkChannels(options.channels ?? 2);
  const timeout = checkTimeout(options.timeout ?? DEFAULT_TIMEOUT);
  const engine = selectEngine(method, "encodes", options.engine);
  const limit = options.maxBandwidth === undefined
    ? undefined
    : new RateLimit(checkBandwidth(options.maxBandwidth));
  const openTls = options.tls && await tlsConnector(options.tls, to);
  const open: Open = openTls ?? ((name, signal) => connect(to, name, signal));
  const source = openSource(options);
  try {
    const pageSize = checkPageSize(options.pageSize ?? source.pageSize ?? 4096);
    checkBlocks(source.blocks, pageSize);
    if (source.deviceState !== undefined) parseVmTail(source.deviceState, "Device state");
    const uuid = options.uuid ?? source.uuid ?? new Uint8Array(16);
    // QEMU 7.2, which takes syncs per section only, passes over zero pages on the channels
    const zeroPages = options.zeroPages ?? (options.sync === "section" ? "legacy" : "multifd");
    const shared = {
      level,
      pageSize,
      zeroPages,
      uuid,
      dense: options.dense === true,
      fallback: options.fallback !== false,
      verify: options.verify === true,
      uadkCompress: options.uadkCompress === true,
    };
    const ram = source.share?.();
    const isNative = usesNative(options.transport, {
      method: method.name,
      ram,
      address: to,
      forWriting: false,
      isEncrypted: openTls !== undefined,
    });
    // the runtime's own sockets are slow to load
    const openMain: Open = isNative && isNumeric(to)
      ? (name, signal) => connectPolled(to, name, signal)
      : open;
    const workers = new ChannelWorkers();
    if (isNative) {
      workers.start(channels);
      // while the threads start, and not after them
      if (openMain === open) nodeNet();
    }
    return await new Sender({
      source,
      method: method.name,
      engine: engine?.name ?? "none",
      channels,
      pageSize,
      timeout,
      sync: options.sync ?? "round",
      machine: options.machine ?? source.machine ?? "none",
      openMain: (signal) => openMain("main channel", signal),
      makeChannel: (id, work, sendZeroPages, signal) =>
        isNative
          ? new SendingChannelInWorker(
            {
              ...shared,
              id,
              to,
              timeout,
              method: method.name,
              engine: options.engine,
              blocks: source.blocks.map(({ name, usedLength }) => ({ name, usedLength })),
              source: ram!,
              work: work.shared,
              limit: limit?.shared,
            },
            workers.open(id),
            sendZeroPages,
          )
          : new SendingChannelHere({
            ...shared,
            id,
            method,
            engine,
            source,
            work,
            limit,
            sendZeroPages,
            open: (name) => open(name, signal),
          }),
      transport: isNative ? "native" : "runtime",
      signal: options.signal,
      onEvent: options.onEvent,
    }).run();
  } finally {
    source.close();
  }
}

function openSource({ image, maxRam }: SendOptions): RamSource {
  if (typeof image !== "string" && !isList(image)) return image;
  const images = typeof image === "string" ? [image] : image;
  const [first] = images;
  return images.length === 1 && isMigrationFile(first!)
    ? new MappedRamSource(first!, maxRam)
    : new ImageFiles(images);
}

function isList(image: readonly string[] | MemoryImage): image is readonly string[] {
  return Array.isArray(image);
}

function checkBlocks(blocks: readonly RamBlock[], pageSize: number): void {
  if (blocks.length === 0) throw new OptionError("Image has no blocks");
  for (const { name, usedLength } of blocks) {
    encodeWireName(name);
    if (usedLength > 0 && usedLength % pageSize === 0) continue;
    throw new OptionError(`Length of block "${name}" is not whole pages`, {
      expected: `a multiple of ${pageSize} bytes`,
      received: usedLength,
    });
  }
}
