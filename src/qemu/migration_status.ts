/** What QEMU says of its migration and of its guest. */
import { QemuError } from "../errors.ts";
import { pause } from "./bounded.ts";
import type { CommandOptions, QmpClient } from "./qmp.ts";

/** How often QEMU is asked, in milliseconds. */
export const POLL_MS = 200;

/** The same for what takes a moment. */
const CLEANUP_MS = 10;

/** QEMU's answer to `query-migrate`, in its own names: `total-time`, `downtime`, `ram`, ... */
export interface QemuMigration {
  /** E.g. `active`, `completed`, `failed`; `none` before the first. */
  status: string;
  /** QEMU's figures, as it gives them. */
  [name: string]: unknown;
}

/** Statuses in which no migration is under way. */
const OVER: readonly string[] = ["none", "completed", "failed", "cancelled"];

/** Whether no migration is under way. */
export function isOver({ status }: QemuMigration): boolean {
  return OVER.includes(status);
}

/** Asks for the migration. */
export async function queryMigration(
  qmp: QmpClient,
  options?: CommandOptions,
): Promise<QemuMigration> {
  const info = await qmp.query("query-migrate", {}, options);
  return { ...info, status: typeof info.status === "string" ? info.status : "none" };
}

/** Asks for the guest's state, e.g. `running`. */
export async function queryGuest(qmp: QmpClient, options?: CommandOptions): Promise<string> {
  return String((await qmp.query("query-status", {}, options)).status);
}

/** Asks until the guest's state is as hoped for, or the time is over; returns the last state. */
export async function waitForGuest(
  qmp: QmpClient,
  isAsHoped: (state: string) => boolean,
  timeout: number,
): Promise<string> {
  const until = performance.now() + timeout;
  for (;;) {
    const state = await queryGuest(qmp, { timeout });
    if (isAsHoped(state) || performance.now() >= until) return state;
    await pause(POLL_MS);
  }
}

/**
 * Waits until QEMU has put away a migration that it calls over: it does so a moment later, by the
 * settings that it finds then, and without multifd it would forget its channels' threads.
 */
export async function waitForCleanup(qmp: QmpClient, timeout: number): Promise<void> {
  const until = performance.now() + timeout;
  try {
    for (;;) {
      const instances = await qmp.queryList("query-yank", { timeout });
      const isThere = instances.some(({ type }) => type === "migration");
      if (!isThere || performance.now() >= until) return;
      await pause(CLEANUP_MS);
    }
  } catch {
    // a QEMU that does not know, or is no more, is not waited for
  }
}

/**
 * The error of a migration that QEMU ended, in QEMU's words.
 *
 * @param what What we were at.
 * @param info What QEMU says.
 */
export function failureOf(what: string, info: QemuMigration): QemuError {
  const desc = typeof info["error-desc"] === "string" ? info["error-desc"] : undefined;
  return new QemuError(`${what}: QEMU says ${info.status}${desc ? `, ${desc}` : ""}`, { desc });
}
