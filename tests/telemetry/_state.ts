/** A migration on a device that told everything there is to tell. */
import type { Metrics } from "../../src/migration/info.ts";
import type { MigrationState } from "../../src/telemetry/migration_metrics.ts";

function channel(id: number): Metrics["perChannel"][number] {
  return {
    id,
    packets: 10 + id,
    syncs: 2,
    normalPages: 100 + id,
    zeroPages: 20 + id,
    bytes: 5000 + id,
    verifyCaught: id,
    codecTime: 1234.5678 + id,
    waitTime: 250,
  };
}

/** Its figures. */
export const METRICS: Metrics = {
  method: "qpl",
  engine: "iaa",
  transport: "native",
  ram: {
    total: 2 ** 30,
    transferred: 11_001,
    normal: 201,
    duplicate: 41,
    normalBytes: 201 * 4096,
    multifdBytes: 10_001,
    ratio: 90.1,
    mbps: 8,
    pagesPerSecond: 1000,
    pageSize: 4096,
    dirtySyncCount: 3,
  },
  perChannel: [channel(0), channel(1)],
  engineCounts: {
    devicePages: 150,
    softwarePages: 40,
    rawPages: 11,
    busyRetries: 6,
    mostInFlight: 128,
    failures: { QPL_STS_QUEUES_ARE_BUSY_ERR: 5 },
  },
};

/** At its end. */
export const STATE: MigrationState = {
  role: "send",
  status: "completed",
  startedAt: 1_700_000_000_000,
  endedAt: 1_700_000_002_500,
  totalTime: 2000,
  setupTime: 30,
  finishTime: 470,
  metrics: METRICS,
};
