import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { formatMetrics } from "../../src/telemetry/exposition.ts";
import { migrationMetrics, type MigrationState } from "../../src/telemetry/migration_metrics.ts";
import { root } from "../_tools.ts";
import { readExposition, type ReadFamily } from "./_exposition.ts";
import { METRICS, STATE } from "./_state.ts";

function read(state: MigrationState): Map<string, ReadFamily> {
  return readExposition(formatMetrics(migrationMetrics(state), {}));
}

/** The values of a metric, by their labels. */
function valuesOf(name: string, state = STATE): Record<string, number> {
  return Object.fromEntries(read(state).get(name)?.samples ?? []);
}

test("migrationMetrics() tells the status and when, in seconds", () => {
  assertEquals(valuesOf("multifd_migration_status"), {
    'status="setup"': 0,
    'status="active"': 0,
    'status="completed"': 1,
    'status="failed"': 0,
    'status="cancelled"': 0,
  });
  const labels = 'role="send",method="qpl",engine="iaa",transport="native"';
  assertEquals(valuesOf("multifd_migration_info"), { [labels]: 1 });
  const names = ["start_timestamp", "end_timestamp", "total_time", "setup_time", "finish_time"];
  assertEquals(
    names.map((name) => valuesOf(`multifd_migration_${name}_seconds`)[""]),
    [1_700_000_000, 1_700_000_002.5, 2, 0.03, 0.47],
  );
});

test("migrationMetrics() tells the RAM's figures in base units", () => {
  assertEquals(valuesOf("multifd_pages_total"), { 'kind="normal"': 201, 'kind="zero"': 41 });
  const names = [
    "ram_bytes",
    "page_size_bytes",
    "transferred_bytes_total",
    "dirty_syncs_total",
    "compression_ratio",
    "throughput_bytes_per_second",
    "pages_per_second",
  ];
  assertEquals(
    names.map((name) => valuesOf(`multifd_${name}`)[""]),
    [2 ** 30, 4096, 11_001, 3, 90.1, 1_000_000, 1000],
  );
});

test("migrationMetrics() tells each channel's share and what its time went into", () => {
  const each = (name: string): number[] => Object.values(valuesOf(`multifd_channel_${name}`));
  assertEquals(each("bytes_total"), [5000, 5001]);
  assertEquals(each("packets_total"), [10, 11]);
  assertEquals(each("codec_seconds_total"), [1.234568, 1.235568]);
  assertEquals(each("wait_seconds_total"), [0.25, 0.25]);
  assertEquals(each("verify_caught_total"), [0, 1]);
  assertEquals(valuesOf("multifd_channel_pages_total"), {
    'channel="0",kind="normal"': 100,
    'channel="1",kind="normal"': 101,
    'channel="0",kind="zero"': 20,
    'channel="1",kind="zero"': 21,
  });
});

test("migrationMetrics() tells what a device did, and nothing of one that is not there", () => {
  assertEquals(valuesOf("multifd_engine_pages_total"), {
    'engine="iaa",kind="device"': 150,
    'engine="iaa",kind="software"': 40,
    'engine="iaa",kind="raw"': 11,
  });
  assertEquals(valuesOf("multifd_engine_busy_retries_total"), { 'engine="iaa"': 6 });
  assertEquals(valuesOf("multifd_engine_failures_total"), {
    'engine="iaa",status="QPL_STS_QUEUES_ARE_BUSY_ERR"': 5,
  });
  assertEquals(valuesOf("multifd_engine_jobs_in_flight_max"), { 'engine="iaa"': 128 });
  const none = read({ ...STATE, metrics: { ...METRICS, engineCounts: undefined } });
  assert([...none.keys()].every((name) => !name.startsWith("multifd_engine_")));
});

test("migrationMetrics() tells a migration before its first page", () => {
  const names = [...read({ role: "recv", status: "setup" }).keys()];
  assertEquals(names, ["multifd_migration_info", "multifd_migration_status"]);
});

test("docs/telemetry.md has every metric, and its type", () => {
  const text = fs.readFileSync(path.join(root, "docs", "telemetry.md"), "utf8");
  const documented = [...text.matchAll(/^\| `(multifd_\w+)` +\| (counter|gauge) /gm)]
    .map(([, name, type]) => `${name} ${type}`);
  assertEquals(documented, [...read(STATE)].map(([name, { type }]) => `${name} ${type}`));
});
