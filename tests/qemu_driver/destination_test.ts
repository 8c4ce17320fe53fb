import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { isAtLeast, preferredMethod, syncOf, zeroPagesOf } from "../../src/qemu/destination.ts";

test("isAtLeast() compares versions by their numbers", () => {
  for (const version of ["8.1.0", "8.1", "8.10.0", "9.0.0 (Debian 1:9)", "10.0.2"]) {
    assertEquals(isAtLeast(version, 8, 1), true, version);
  }
  for (const version of ["8.0.5", "7.2.22 (Debian 1:7.2+dfsg-7)", "4.2", "unknown", ""]) {
    assertEquals(isAtLeast(version, 8, 1), false, version);
  }
});

const SYNCS: [machine: string, version: string, saved: string | undefined, sync: string][] = [
  ["pc-q35-10.0", "10.0.2", undefined, "round"],
  ["pc-q35-8.1", "10.0.2", undefined, "round"],
  ["pc-q35-8.0", "10.0.2", undefined, "section"],
  ["pc-i440fx-7.2", "10.0.2", undefined, "section"],
  ["s390-ccw-virtio-2.12", "10.0.2", undefined, "section"],
  ["virt-10.1", "10.1.0", undefined, "round"],
  ["microvm", "10.0.2", undefined, "round"],
  ["pc-q35-rhel9.2.0", "9.0.0", undefined, "round"],
  ["pc-q35-rhel8.6.0", "9.0.0", "section", "section"],
  ["pc-q35-10.0", "10.0.2", "round", "round"],
  ["pc-q35-7.2", "7.2.22", undefined, "section"],
  ["pc-q35-7.2", "7.2.22", "round", "section"],
];

for (const [machine, version, saved, sync] of SYNCS) {
  test(`syncOf() is ${sync} for ${machine} on ${version}, saved per ${saved}`, () => {
    assertEquals(syncOf(machine, version, saved), sync);
  });
}

test("zeroPagesOf() keeps zero pages on the main channel before 9.0", () => {
  assertEquals(["7.2.22", "8.2.0", "9.0.0", "10.0.2"].map(zeroPagesOf), [
    "legacy",
    "legacy",
    "multifd",
    "multifd",
  ]);
});

test("preferredMethod() takes zstd, else zlib, else none", () => {
  assertEquals(preferredMethod(["none", "zlib", "zstd", "qpl"]), "zstd");
  assertEquals(preferredMethod(["none", "zlib"]), "zlib");
  assertEquals(preferredMethod(["none"]), "none");
  assertEquals(preferredMethod([]), "none");
});
