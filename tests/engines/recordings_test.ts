/** What QEMU itself sent, through each engine: the same pages as through the runtime's own. */
import fs from "node:fs";
import { assert, assertEquals } from "@std/assert";
import type { Method } from "../../src/methods/method.ts";
import { methodByFlag } from "../../src/methods/registry.ts";
import { GREETING_SIZE } from "../../src/protocol/greeting.ts";
import type { RamBlock } from "../../src/protocol/ram_packet.ts";
import { parseRamPacket, ramPacketHeaderSize } from "../../src/protocol/ram_packet_header.ts";
import { receiving, same } from "../methods/_pages.ts";
import { recording } from "../protocol/_build.ts";
import { METHODS, testOf, using } from "./_native.ts";

const PAGE_SIZE = 4096;
const DIRECTORY = new URL("../testdata/recordings/", import.meta.url);

interface Expected {
  method: string;
  blocks: Record<string, { used_length: number }>;
  streams: Record<string, unknown>;
}

interface Payload {
  method: Method;
  payload: Uint8Array;
  size: number;
}

function expectedOf(name: string): Expected {
  return JSON.parse(new TextDecoder().decode(recording(`${name}/expected.json`))) as Expected;
}

/** The payloads on a recorded channel, in order. */
function* payloadsIn(
  bytes: Uint8Array,
  blocks: ReadonlyMap<string, RamBlock>,
): Generator<Payload> {
  const headerSize = ramPacketHeaderSize(PAGE_SIZE);
  for (let at = GREETING_SIZE; at < bytes.length;) {
    const packet = parseRamPacket(bytes.subarray(at, at + headerSize), PAGE_SIZE, blocks);
    at += headerSize;
    if (packet.normalPages === 0) continue;
    const payload = bytes.subarray(at, at + packet.nextPacketSize);
    assertEquals(payload.length, packet.nextPacketSize);
    at += payload.length;
    const method = methodByFlag(packet.flags)!;
    yield { method, payload, size: packet.normalPages * PAGE_SIZE };
  }
}

for (const name of fs.readdirSync(DIRECTORY).sort()) {
  const { method: methodName, blocks: known, streams } = expectedOf(name);
  const engines = METHODS.find(({ method }) => method.name === methodName)?.decoders ?? [];
  const blocks = new Map(
    Object.entries(known).map((
      [name, { used_length: usedLength }],
    ) => [name, { name, usedLength }]),
  );
  for (const engine of engines.slice(1)) {
    testOf([engine], `${engine} reads the recording ${name} as builtin does`, async () => {
      let packets = 0;
      for (const file of Object.keys(streams)) {
        const ends = new Map<Method, Awaited<ReturnType<typeof receiving>>[]>();
        for (const { method, payload, size } of payloadsIn(recording(`${name}/${file}`), blocks)) {
          const both = ends.get(method) ?? [
            await receiving(method, using("builtin", {})),
            await receiving(method, using(engine, {})),
          ];
          ends.set(method, both);
          const [own, native] = [
            await both[0]!.receive(payload, size),
            await both[1]!.receive(payload, size),
          ];
          assert(same(own, native), `${file}, packet ${packets}`);
          packets++;
        }
        for (const end of [...ends.values()].flat()) end.cleanup();
      }
      assert(packets >= 6, `${packets} packets`);
    });
  }
}
