/** What QEMU says of its migration and of its guest. */
import { QemuError } from "../errors.ts";
import { pause } from "./bounded.ts";
import type { CommandOptions, QmpClient } from "./qmp.ts";

/** How often QEMU is asked, in milliseconds. */
export const POLL_MS = 200;

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
 * The error of a migration that QEMU ended, in QEMU's words.
 *
 * @param what What we were at.
 * @param info What QEMU says.
 */
export function failureOf(what: string, info: QemuMigration): QemuError {
  const desc = typeof info["error-desc"] === "string" ? info["error-desc"] : undefined;
  return new QemuError(`${what}: QEMU says ${info.status}${desc ? `, ${desc}` : ""}`, { desc });
}
