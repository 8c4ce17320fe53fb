/** `saveVm()`: has a QEMU migrate its guest into a directory. */
import path from "node:path";
import {
  CancelledError,
  MultifdError,
  OptionError,
  PeerClosedError,
  QemuError,
} from "../errors.ts";
import type { MigrationEvent } from "../migration/info.ts";
import {
  checkChannels,
  checkLevel,
  checkMethod,
  checkTimeout,
  DEFAULT_TIMEOUT,
} from "../migration/options.ts";
import { receive, type ReceiveOptions } from "../migration/receive.ts";
import type { Received } from "../migration/info.ts";
import type { ManifestSource } from "../ram/manifest.ts";
import { addNote } from "./add_note.ts";
import { bounded, pause, within } from "./bounded.ts";
import { MigrationSettings } from "./migration_settings.ts";
import {
  failureOf,
  isOver,
  POLL_MS,
  type QemuMigration,
  queryGuest,
  queryMigration,
  waitForCleanup,
  waitForGuest,
} from "./migration_status.ts";
import { QmpClient } from "./qmp.ts";

/** How long QEMU may take to say why it dropped a connection, in milliseconds. */
const REASON_MS = 2000;
/** How long QEMU may take for each step of the clearing up, in milliseconds. */
const CLEAR_MS = 5000;
/** What is said of an error that comes when the image has its name. */
const KEPT = "; the image is complete nevertheless";
/** What QEMU refuses a migration with while it clears up after one that it already calls over. */
const CLEARING_UP = "duplicate yank instance";
/** How often QEMU is asked when something waits for its answer, in milliseconds. */
const HURRY_MS = 20;

/** What {@linkcode saveVm} is told; the rest is as for `receive()`. */
export interface SaveOptions
  extends Omit<ReceiveOptions, "listen" | "acceptTimeout" | "onEvent" | "source" | "tls"> {
  /** QEMU's QMP socket: a path, `unix:PATH` or `HOST:PORT`. */
  qmp: string;
  /** The directory or mapped-ram file to make (see `format`), or memory. */
  into: ReceiveOptions["into"];
  /** Where QEMU is told to connect to. Default `127.0.0.1:0`. */
  listen?: string | undefined;
  /** Compression method. Default: as QEMU is set. */
  method?: string | undefined;
  /** Compression level, with a method. Default: as QEMU is set. */
  level?: number | undefined;
  /** Number of channels, 1 to 255. Default: as QEMU is set. */
  channels?: number | undefined;
  /** Most bytes per second. Default: as QEMU is set, 128 MiB unless it was told. */
  maxBandwidth?: number | undefined;
  /** Whether a guest that was running goes on afterwards. Default false: it stays paused. */
  resume?: boolean | undefined;
  /** Takes the events. */
  onEvent?: ((event: QemuEvent) => void) | undefined;
}

/** What is told while a QEMU is driven. */
export type QemuEvent =
  | MigrationEvent
  | { /** What QEMU says, five times a second. */ type: "qemu"; info: QemuMigration };

/** A guest's states, as QEMU names them. */
export interface GuestStates {
  /** Before. */
  before: string;
  /** After. */
  after: string;
}

/** A VM that was saved. */
export interface SavedVm {
  /** What was received, with our figures. */
  received: Received;
  /** QEMU's own figures, in its own names. */
  qemu: QemuMigration;
  /** QEMU's version. */
  qemuVersion: string;
  /** The guest. */
  guest: GuestStates;
}

/**
 * Saves a QEMU's guest: RAM and device state, no disks. QEMU gets what it needs over QMP, and its
 * migration settings back afterwards, whatever happens. The guest is paused when it is saved.
 * If saving fails, it is as it was.
 *
 * @param options Which QEMU, and where to.
 * @returns What was received and what QEMU says, once both have finished.
 * @throws {QemuError} If QEMU refuses, or its migration fails; `desc` has its words.
 * @throws {MultifdError} Whatever `receive()` throws; `guest` tells how the guest is now.
 *
 * @example
 * ```ts no-eval
 * import { saveVm } from "@multifd/multifd";
 *
 * const { received, guest } = await saveVm({ qmp: "/run/vm.qmp", into: "saved-vm", resume: true });
 * console.log(received.machine, guest.after); // running
 * ```
 */
export async function saveVm(options: SaveOptions): Promise<SavedVm> {
  checkOptions(options);
  const { signal } = options;
  const timeout = checkTimeout(options.timeout ?? DEFAULT_TIMEOUT);
  const qmp = await QmpClient.connect(options.qmp, {
    timeout,
    signal,
    warn: (message) => options.onEvent?.({ type: "warning", message }),
  });
  try {
    const before = await checkGuest(qmp, signal);
    const settings = new MigrationSettings(qmp);
    try {
      const { capabilities, parameters } = await settings.apply(options, signal);
      const saved = await migrate(qmp, timeout, {
        ...options,
        channels: options.channels ?? Number(parameters["multifd-channels"]),
        source: { "qemu-version": qmp.version, capabilities },
      });
      const after = await settle(qmp, before, options.resume === true);
      return { ...saved, qemuVersion: qmp.version, guest: { before, after } };
    } catch (error) {
      if (error instanceof MultifdError) error.locate({ guest: await guestAfter(qmp, before) });
      throw error;
    } finally {
      await waitForCleanup(qmp, CLEAR_MS);
      const message = await settings.putBack(CLEAR_MS);
      if (message !== undefined) options.onEvent?.({ type: "warning", message });
    }
  } finally {
    qmp.close();
  }
}

function checkOptions({ method, level, channels }: SaveOptions): void {
  if (channels !== undefined) checkChannels(channels);
  if (method !== undefined) checkLevel(checkMethod(method), level);
  else if (level !== undefined) throw new OptionError("A level needs a method");
}

/** States from which no guest can be saved, and why. */
const REFUSED = new Map([
  ["inmigrate", "it waits for an incoming migration itself"],
  ["finish-migrate", "it is being migrated already"],
  ["save-vm", "a snapshot is being made of it"],
  ["restore-vm", "a snapshot of it is being loaded"],
  ["postmigrate", "an earlier migration paused it, let it go on first (cont)"],
  ["colo", "COLO replicates it"],
  ["internal-error", "it crashed inside QEMU"],
]);

async function checkGuest(qmp: QmpClient, signal: AbortSignal | undefined): Promise<string> {
  const state = await queryGuest(qmp, { signal });
  const why = REFUSED.get(state);
  if (why !== undefined) throw new QemuError(`Cannot save a guest that is ${state}: ${why}`);
  const migration = await queryMigration(qmp, { signal });
  if (isOver(migration)) return state;
  throw new QemuError(`Cannot save: QEMU is migrating its guest already (${migration.status})`);
}

interface MigrateOptions extends SaveOptions {
  /** For the manifest. */
  source: ManifestSource;
}

/** Has QEMU send and receives, until both say that it is over. */
async function migrate(
  qmp: QmpClient,
  timeout: number,
  options: MigrateOptions,
): Promise<{ received: Received; qemu: QemuMigration }> {
  const stop = new AbortController();
  const over = new AbortController();
  const listening = Promise.withResolvers<string>();
  const receiving = receive({
    ...options,
    listen: absolute(options.listen ?? "127.0.0.1:0"),
    acceptTimeout: timeout,
    signal: AbortSignal.any([stop.signal, ...(options.signal ? [options.signal] : [])]),
    onEvent: (event) => {
      if (event.type === "listening") listening.resolve(event.address);
      options.onEvent?.(event);
    },
  });
  receiving.finally(() => over.abort()).catch(listening.reject);
  const watching = listening.promise.then(async (address) => {
    const uri = address.startsWith("unix:") ? address : `tcp:${address}`;
    await start(qmp, uri, over.signal);
    return await watch(qmp, over.signal, options.onEvent);
  });
  watching.catch((error) => stop.abort(error));
  let received: Received;
  try {
    received = await receiving;
  } catch (error) {
    const isSymptom = error instanceof PeerClosedError ||
      error instanceof CancelledError && stop.signal.aborted && options.signal?.aborted !== true;
    const theirs = await endInQemu(qmp, watching, isSymptom ? REASON_MS : 0);
    throw isSymptom ? theirs ?? error : error;
  }
  try {
    const onTimeout = `QEMU did not say for ${timeout / 1000} s that its migration is over`;
    return { received, qemu: await bounded(() => watching, { timeout, onTimeout }) };
  } catch (error) {
    throw addNote(error, KEPT);
  } finally {
    stop.abort();
  }
}

/** QEMU has another working directory. */
function absolute(address: string): string {
  return address.startsWith("unix:") ? `unix:${path.resolve(address.slice(5))}` : address;
}

/** Starts QEMU's migration, if need be once it has cleared up after an earlier one. */
async function start(qmp: QmpClient, uri: string, over: AbortSignal): Promise<void> {
  const until = performance.now() + CLEAR_MS;
  for (;;) {
    try {
      return void await qmp.execute("migrate", { uri });
    } catch (error) {
      const isClearingUp = error instanceof QemuError && error.facts.desc === CLEARING_UP;
      if (!isClearingUp || over.aborted || performance.now() >= until) throw error;
      await pause(HURRY_MS, over);
    }
  }
}

/** Asks until QEMU's migration is over. */
async function watch(
  qmp: QmpClient,
  hurry: AbortSignal,
  onEvent: SaveOptions["onEvent"],
): Promise<QemuMigration> {
  for (;;) {
    const info = await queryMigration(qmp);
    onEvent?.({ type: "qemu", info });
    if (info.status === "completed") return info;
    if (isOver(info)) throw failureOf("Migration failed", info);
    await (hurry.aborted ? pause(HURRY_MS) : pause(POLL_MS, hurry));
  }
}

/** Waits for QEMU to end its migration, and makes it; returns its error if it has one. */
async function endInQemu(
  qmp: QmpClient,
  watching: Promise<unknown>,
  patience: number,
): Promise<unknown> {
  let isEnded = false;
  const ended = watching.then(() => undefined, (error: unknown) => error)
    .finally(() => isEnded = true);
  await within(patience, ended);
  if (isEnded) return await ended;
  try {
    await qmp.execute("migrate_cancel", {}, { timeout: CLEAR_MS });
  } catch {
    // lost or hung: there is nothing to wait for
    return undefined;
  }
  return await within(CLEAR_MS, ended);
}

/** The guest's state when it is saved. */
async function settle(qmp: QmpClient, before: string, resume: boolean): Promise<string> {
  try {
    if (!resume || before !== "running") return await queryGuest(qmp);
    await qmp.execute("cont");
    const after = await waitForGuest(qmp, (state) => state === "running", CLEAR_MS);
    if (after === "running") return after;
    throw new QemuError("Guest does not go on");
  } catch (error) {
    throw addNote(error, KEPT);
  }
}

/** How the guest is after a failure; undefined if QEMU does not tell any more. */
async function guestAfter(qmp: QmpClient, before: string): Promise<string | undefined> {
  try {
    const isAsBefore = (state: string): boolean =>
      state !== "finish-migrate" && (state === "running") === (before === "running");
    const after = await waitForGuest(qmp, isAsBefore, CLEAR_MS);
    return after === before ? after : `${after}, was ${before}`;
  } catch {
    return undefined;
  }
}
