/** `--metrics-file`: the figures of a migration in a file that Prometheus' node_exporter reads. */
import { rename, unlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { CancelledError, OptionError } from "../errors.ts";
import type { MigrationInfo } from "../migration/info.ts";
import type { QemuEvent } from "../qemu/save.ts";
import { formatMetrics } from "../telemetry/exposition.ts";
import { migrationMetrics, type MigrationState } from "../telemetry/migration_metrics.ts";
import type { Options, OptionSpec } from "./args.ts";
import { tell } from "./output.ts";

/** The only files that node_exporter reads. */
const SUFFIX = ".prom";
/** How often the file is written while pages move, in milliseconds of the migration. */
const WRITE_MS = 1000;

/** The option. */
export const metricsFileOption: Record<string, OptionSpec> = {
  "metrics-file": {
    kind: "text",
    value: "FILE",
    help: `write the figures each second for Prometheus' node_exporter; ends in ${SUFFIX}`,
  },
};

/**
 * The file that was asked for; where none was, it does nothing.
 *
 * @param options The verb's options.
 * @param role What the migration is to this end, the verb's name.
 * @throws {OptionError} If the file has a name that node_exporter does not read.
 */
export function metricsFileOf(options: Options, role: string): MetricsFile {
  const name = options.text("metrics-file");
  if (name !== undefined && !name.endsWith(SUFFIX)) {
    throw new OptionError(`--metrics-file ${name} does not end in ${SUFFIX}`);
  }
  return new MetricsFile(name, role);
}

/** Keeps a file as the migration is. That it cannot be written ends no migration. */
export class MetricsFile {
  readonly #path: string | undefined;
  readonly #state: MigrationState;
  #writing: Promise<void> | undefined;
  #writtenAt = 0;
  #hasFailed = false;

  constructor(path: string | undefined, role: string) {
    this.#path = path;
    this.#state = { role, status: "setup" };
    this.#write();
  }

  /** Takes the migration's events. */
  onEvent(event: QemuEvent): void {
    const state = this.#state;
    if (event.type === "started") {
      state.startedAt = Date.now();
    } else if (event.type === "setup") {
      state.status = "active";
      this.#write();
    } else if (event.type === "progress") {
      state.metrics = event;
      state.totalTime = event.elapsed;
      if (event.elapsed - this.#writtenAt < WRITE_MS) return;
      this.#writtenAt = event.elapsed;
      this.#write();
    }
  }

  /**
   * Waits for the migration's end, and has the file say how that was.
   *
   * @param done The migration's result.
   * @param infoOf The figures in it.
   * @returns The result.
   */
  async follow<T>(done: Promise<T>, infoOf: (result: T) => MigrationInfo): Promise<T> {
    const state = this.#state;
    try {
      const result = await done;
      const info = infoOf(result);
      const { totalTime, setupTime, finishTime } = info;
      Object.assign(state, { totalTime, setupTime, finishTime, metrics: info });
      state.status = "completed";
      return result;
    } catch (error) {
      state.status = error instanceof CancelledError ? "cancelled" : "failed";
      throw error;
    } finally {
      state.endedAt = Date.now();
      await this.#writing;
      await this.#write();
    }
  }

  /** Has the file written; where a disk is too slow for that, the next time tells the news. */
  #write(): Promise<void> {
    if (this.#path === undefined) return Promise.resolve();
    this.#writing ??= this.#replace(this.#path).finally(() => this.#writing = undefined);
    return this.#writing;
  }

  /** Writes the file beside its place first: who reads it never sees half of it. */
  async #replace(file: string): Promise<void> {
    // two migrations of a host must not tell the same series
    const migration = path.basename(file, SUFFIX);
    const text = formatMetrics(migrationMetrics(this.#state), { migration });
    const partial = `${file}.partial`;
    try {
      await writeFile(partial, text);
      await rename(partial, file);
    } catch (error) {
      if (!this.#hasFailed) {
        tell(`multifd: cannot write --metrics-file: ${(error as Error).message}`);
      }
      this.#hasFailed = true;
      await unlink(partial).catch(() => {});
    }
  }
}
