/** `restoreVm()`: a QEMU that waits with `-incoming defer` takes an image and goes on with it. */
import path from "node:path";
import { selectEngine } from "../engines/select.ts";
import {
  type MultifdError,
  PeerClosedError,
  PeerFailedError,
  ProtocolError,
  QemuError,
  TimedOutError,
} from "../errors.ts";
import type { MigrationInfo } from "../migration/info.ts";
import {
  checkChannels,
  checkLevel,
  checkMethod,
  checkTimeout,
  DEFAULT_TIMEOUT,
} from "../migration/options.ts";
import { send, type SendOptions } from "../migration/send.ts";
import { formatAddress, parseAddress } from "../transport/address.ts";
import { addNote } from "./add_note.ts";
import { bounded, pause } from "./bounded.ts";
import { isAtLeast, preferredMethod, syncOf, zeroPagesOf } from "./destination.ts";
import { MigrationSettings, qemuMethods } from "./migration_settings.ts";
import {
  failureOf,
  POLL_MS,
  type QemuMigration,
  queryMigration,
  waitForGuest,
} from "./migration_status.ts";
import { QmpClient } from "./qmp.ts";
import { isObject } from "./qmp_message.ts";
import { checkFit, checkWaiting, readFacts } from "./restore_checks.ts";
import type { GuestStates, QemuEvent } from "./save.ts";

/** How long QEMU may take for each step of the clearing up, in milliseconds. */
const CLEAR_MS = 5000;

/** What {@linkcode restoreVm} is told; the rest is as for `send()`. */
export interface RestoreOptions
  extends Omit<SendOptions, "image" | "to" | "machine" | "uuid" | "onEvent" | "tls"> {
  /** A directory that was received or saved, or a mapped-ram file. */
  image: string;
  /** QEMU's QMP socket: a path, `unix:PATH` or `HOST:PORT`. */
  qmp: string;
  /** Where QEMU is told to listen. Default `127.0.0.1:0`. */
  listen?: string | undefined;
  /** Compression method. Default zstd if QEMU has it, else zlib, else none. */
  method?: string | undefined;
  /** Number of channels, 1 to 255. Default: as QEMU is set. */
  channels?: number | undefined;
  /** How QEMU reads sync markers. Default: as its machine type does. */
  sync?: SendOptions["sync"];
  /** Takes the events. */
  onEvent?: ((event: QemuEvent) => void) | undefined;
}

/** A VM that was restored. */
export interface RestoredVm {
  /** Our figures. */
  sent: MigrationInfo;
  /** QEMU's own, in its own names. */
  qemu: QemuMigration;
  /** QEMU's version. */
  qemuVersion: string;
  /** The guest. */
  guest: GuestStates;
}

/**
 * Restores a guest into a QEMU that was started with `-incoming defer`, the same machine type,
 * memory and devices: RAM and device state, no disks.
 *
 * @param options The image, and which QEMU.
 * @returns The figures, once QEMU has the guest; it runs unless it was saved paused or QEMU was
 *   started with -S.
 * @throws {QemuError} If QEMU does not fit, refuses, or fails to load; `desc` has its words.
 * @throws {MultifdError} Whatever `send()` throws.
 *
 * @example
 * ```ts no-eval
 * import { restoreVm } from "@multifd/multifd";
 *
 * const { guest } = await restoreVm({ image: "saved-vm", qmp: "/run/vm.qmp" });
 * console.log(guest.after); // running
 * ```
 */
export async function restoreVm(options: RestoreOptions): Promise<RestoredVm> {
  const { signal, channels } = options;
  const timeout = checkTimeout(options.timeout ?? DEFAULT_TIMEOUT);
  if (channels !== undefined) checkChannels(channels);
  const image = readFacts(options.image, options.maxRam);
  const qmp = await QmpClient.connect(options.qmp, {
    timeout,
    signal,
    warn: (message) => options.onEvent?.({ type: "warning", message }),
  });
  try {
    const before = await checkWaiting(qmp, image, signal);
    const { machine, uuid } = await checkFit(qmp, image, signal);
    const method = options.method ?? preferredMethod(await qemuMethods(qmp, signal));
    // what send() would refuse, it would refuse when QEMU waits for it already
    checkLevel(checkMethod(method), options.level);
    selectEngine(checkMethod(method), "encodes", options.engine);
    const settings = new MigrationSettings(qmp);
    try {
      const { parameters } = await settings.apply({ method, channels }, signal);
      const restored = await load(qmp, options.listen ?? "127.0.0.1:0", {
        ...options,
        method,
        channels: Number(parameters["multifd-channels"]),
        machine: machine ?? image.machine,
        uuid,
        sync: options.sync ?? syncOf(machine ?? image.machine ?? "", qmp.version, image.sync),
        zeroPages: options.zeroPages ?? zeroPagesOf(qmp.version),
        timeout,
      });
      const { after } = restored;
      return { ...restored, qemuVersion: qmp.version, guest: { before, after } };
    } finally {
      const message = await settings.putBack(CLEAR_MS);
      if (message !== undefined) options.onEvent?.({ type: "warning", message });
    }
  } finally {
    qmp.close();
  }
}

/** Has QEMU listen and sends, until QEMU says that it has the guest. */
async function load(
  qmp: QmpClient,
  listen: string,
  options: Omit<SendOptions, "to"> & { timeout: number },
): Promise<{ sent: MigrationInfo; qemu: QemuMigration; after: string }> {
  let isSpoilt = true;
  try {
    const to = await openIncoming(qmp, listen, options.signal).catch((error) => {
      isSpoilt = !(error instanceof QemuError);
      throw error;
    });
    const sent = await sendTo(qmp, { ...options, to });
    const qemu = await waitUntilLoaded(qmp, options.timeout);
    const after = await waitForGuest(qmp, (state) => state !== "inmigrate", CLEAR_MS);
    return { sent, qemu, after };
  } catch (error) {
    throw isSpoilt ? addNote(error, "; QEMU has to be started anew for another try") : error;
  }
}

/** Has QEMU listen; returns the address. */
async function openIncoming(
  qmp: QmpClient,
  listen: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  const address = parseAddress(listen);
  // a QEMU that stays can say why it failed
  const stays = isAtLeast(qmp.version, 9, 1) ? { "exit-on-error": false } : {};
  if ("path" in address) {
    const uri = `unix:${path.resolve(address.path)}`;
    await qmp.execute("migrate-incoming", { uri, ...stays }, { signal });
    return uri;
  }
  const uri = `tcp:${formatAddress(address)}`;
  await qmp.execute("migrate-incoming", { uri, ...stays }, { signal });
  if (address.port !== 0) return listen;
  const { "socket-address": sockets } = await queryMigration(qmp, { signal });
  const socket = Array.isArray(sockets) ? sockets.find(isObject) : undefined;
  const port = Number(socket?.port);
  if (Number.isInteger(port) && port > 0 && port < 65536) {
    return formatAddress({ host: address.host, port });
  }
  throw new ProtocolError("QEMU does not tell the port that it listens on: choose one (--listen)");
}

/** Sends; QEMU's own reason goes before what we see of its failure. */
async function sendTo(
  qmp: QmpClient,
  options: Parameters<typeof send>[0],
): Promise<MigrationInfo> {
  try {
    return await send(options);
  } catch (error) {
    const isSymptom = error instanceof PeerClosedError || error instanceof PeerFailedError;
    if (isSymptom) throw await reasonOf(qmp, error);
    if (!(error instanceof TimedOutError)) throw error;
    const other = options.sync === "round" ? "section" : "round";
    throw new TimedOutError(
      `${error.summary}; if QEMU hangs it reads sync markers otherwise: try --sync ${other}`,
      error.facts,
      { cause: error },
    );
  }
}

/** Why QEMU failed, in its own words if it has any. */
async function reasonOf(qmp: QmpClient, error: MultifdError): Promise<unknown> {
  const until = performance.now() + CLEAR_MS;
  try {
    while (performance.now() < until) {
      const info = await queryMigration(qmp, { timeout: CLEAR_MS });
      if (info.status === "failed") return failureOf("Restoring failed", info);
      await pause(POLL_MS);
    }
  } catch (lost) {
    if (!qmp.isLost) return error;
    const summary = "QEMU ended while it loaded the guest; its reason is on its stderr";
    return new QemuError(summary, {}, { cause: lost });
  }
  return error;
}

/** SHUT 0 is said a moment before QEMU is done. */
async function waitUntilLoaded(qmp: QmpClient, timeout: number): Promise<QemuMigration> {
  const onTimeout = `QEMU did not say for ${timeout / 1000} s that it has the guest`;
  return await bounded(async (over) => {
    while (!over.aborted) {
      const info = await queryMigration(qmp);
      if (info.status === "completed") return info;
      if (info.status === "failed") throw failureOf("Restoring failed", info);
      await pause(POLL_MS, over);
    }
    throw over.reason;
  }, { timeout, onTimeout });
}
