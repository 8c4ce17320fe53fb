/**
 * libqpl's and libqatzip's own software against every engine of ours. libqatzip's loses a
 * thread key of the process with each call, so each of its packets is made and read once.
 */
import { assertReceives, joined, pageOf, payloadsOf, somePages } from "../methods/_pages.ts";
import { methodByName } from "../../src/methods/registry.ts";
import { testOf, using } from "./_native.ts";

const COUNT = 128;
/** Packets that an encoder may treat in its own way: of every kind of page, and of one. */
const PACKETS: Record<string, Uint8Array> = {
  mixed: somePages(COUNT, 4096, 7),
  incompressible: joined(Array.from({ length: COUNT }, (_, i) => pageOf("random", 4096, i))),
  compressible: joined(Array.from({ length: COUNT }, () => pageOf("text"))),
};

const qpl = methodByName("qpl")!;
const qatzip = methodByName("qatzip")!;

for (const [kind, packet] of Object.entries(PACKETS)) {
  for (const other of ["builtin", "isal"]) {
    testOf(["qpl", other], `libqpl reads ${other}'s ${kind} pages`, async () => {
      for (const dense of [false, true]) {
        const payloads = await payloadsOf(qpl, [packet], using(other, { dense }));
        await assertReceives(qpl, payloads, [packet], using("qpl", {}));
      }
    });
    testOf(
      ["qatzip", other],
      `libqatzip reads ${other}'s ${kind} packets, all levels`,
      async () => {
        for (let level = 1; level <= 9; level++) {
          const payloads = await payloadsOf(qatzip, [packet], using(other, { level }));
          await assertReceives(qatzip, payloads, [packet], using("qatzip", {}));
        }
      },
    );
  }
  testOf(["qpl", "libdeflate"], `libqpl's ${kind} pages are read by all`, async () => {
    for (const dense of [false, true]) {
      const payloads = await payloadsOf(qpl, [packet], using("qpl", { dense }));
      for (const reader of ["builtin", "libdeflate"]) {
        await assertReceives(qpl, payloads, [packet], using(reader, {}));
      }
    }
  });
  testOf(["qatzip", "libdeflate"], `libqatzip's ${kind} packets are read by all`, async () => {
    for (let level = 1; level <= 9; level++) {
      const payloads = await payloadsOf(qatzip, [packet], using("qatzip", { level }));
      for (const reader of ["builtin", "libdeflate"]) {
        await assertReceives(qatzip, payloads, [packet], using(reader, {}));
      }
    }
  });
}
