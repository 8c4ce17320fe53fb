import { test } from "node:test";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { parseDevice } from "../../src/advise/devices.ts";
import { planOf } from "../../src/advise/recommend.ts";
import { type Settings, settingsOf } from "../../src/advise/settings.ts";
import { candidates, profile, question } from "./_coefficients.ts";

function settings(method: string, level?: number, engine?: string): Settings {
  const guest = profile();
  const candidate = candidates(guest, [parseDevice("qat=1")]).find((found) =>
    found.method === method && found.level === level && (engine ?? found.engine) === found.engine
  )!;
  return settingsOf(planOf(candidate, question({ guest }), 6), "multifd");
}

test("settingsOf() gives QMP for both QEMUs", () => {
  assertEquals(settings("zstd", 3).qmp, [
    {
      execute: "migrate-set-capabilities",
      arguments: { capabilities: [{ capability: "multifd", state: true }] },
    },
    {
      execute: "migrate-set-parameters",
      arguments: {
        "multifd-channels": 6,
        "multifd-compression": "zstd",
        "multifd-zstd-level": 3,
        "max-bandwidth": 0,
      },
    },
  ]);
});

test("settingsOf() gives no level to a method that has none", () => {
  const [, parameters] = settings("qpl").qmp as { arguments: object }[];
  assertEquals(Object.keys(parameters!.arguments), [
    "multifd-channels",
    "multifd-compression",
    "max-bandwidth",
  ]);
});

test("settingsOf() tells virsh what it can be told, and says where it cannot", () => {
  assertEquals(
    settings("zlib", 1).virsh,
    "virsh migrate --live GUEST DESTINATION --parallel --parallel-connections 6 " +
      "--compressed --comp-methods zlib --comp-zlib-level 1",
  );
  assertEquals(
    settings("none").virsh,
    "virsh migrate --live GUEST DESTINATION --parallel --parallel-connections 6",
  );
  const { virsh, virshNote } = settings("qpl");
  assertEquals(virsh, undefined);
  assertStringIncludes(virshNote, "virsh has no word for qpl");
});

test("settingsOf() gives multifd's commands, with the engine that was meant", () => {
  assertEquals(settings("qatzip", 1, "qat").multifd, [
    "multifd recv --listen 0.0.0.0:4444 --out DIRECTORY --method qatzip --channels 6",
    "multifd send IMAGE --to HOST:4444 --method qatzip --level 1 --channels 6 --engine qat",
  ]);
});
