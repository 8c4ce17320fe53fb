import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  CancelledError,
  convert,
  ImageError,
  inspect,
  MultifdError,
  PeerClosedError,
  ProtocolError,
  type ReadingOptions,
  send,
  VerificationError,
} from "../../mod.ts";
import { guest, startReceiver, temporaryDirectory } from "./_migrate.ts";

const here = path.dirname(fileURLToPath(import.meta.url));
const testdata = path.join(here, "..", "testdata", "recordings");
/** More recordings, where the machine has them. */
const shared = path.join(here, "..", "..", "..", "shared", "vectors");

interface Expected {
  machine: string;
  method: string;
  channels: number;
  sync_rounds: number;
  streams: Record<string, { bytes: number; id: number }>;
  blocks: Record<string, { used_length: number; sha256: string | null }>;
  device_state_bytes: number;
  vmdesc_bytes: number;
}

function recordings(directory: string): string[] {
  return fs.existsSync(directory)
    ? fs.readdirSync(directory).map((name) => path.join(directory, name))
    : [];
}

for (const directory of [...recordings(testdata), ...recordings(shared)]) {
  const from = directory.startsWith(testdata) ? "" : ", of ../shared";
  test(`inspect() rebuilds the recording ${path.basename(directory)}${from}`, async () => {
    const expected = JSON.parse(
      fs.readFileSync(path.join(directory, "expected.json"), "utf8"),
    ) as Expected;
    const report = await inspect(directory);
    assert(report.kind === "recording");
    assertEquals(report.machine, expected.machine);
    assertEquals(report.method, expected.method);
    assertEquals(report.channels, expected.channels);
    assertEquals(report.ram.dirtySyncCount, expected.sync_rounds);
    assertEquals(report.rounds.length, expected.sync_rounds);
    const pages = report.rounds.reduce((sum, round) => sum + round.normal + round.duplicate, 0);
    // each page of the guest once, and some again
    assertEquals(pages - report.repeatedPages, report.ram.total / report.ram.pageSize);
    assertEquals(report.blocks.length, Object.keys(expected.blocks).length);
    for (const { name, usedLength, sha256, missing } of report.blocks) {
      const block = expected.blocks[name]!;
      assertEquals(usedLength, block.used_length);
      // where the recording machine could not tell the hash, the file has none
      if (block.sha256 !== null) assertEquals(sha256, block.sha256);
      assertEquals(missing, 0);
    }
    for (const { id, bytes } of Object.values(expected.streams)) {
      const channel = report.perChannel[id]!;
      // QEMU 7.2 sends an empty packet after the last SYNC
      assert(bytes === channel.bytes || report.lenientPacketNumbers, `${bytes} ${channel.bytes}`);
    }
    assertEquals(report.tail.bytes.length, expected.device_state_bytes);
    assertEquals(report.tail.descriptionBytes, expected.vmdesc_bytes);
    assert(report.tail.devices.some(({ name }) => name === "cpu_common"));
  });
}

/** A copy of a recording to damage. */
function copyOf(name: string): string {
  const directory = path.join(temporaryDirectory(), "recording");
  fs.cpSync(path.join(testdata, name), directory, { recursive: true });
  return directory;
}

function damage(file: string, change: (bytes: Uint8Array) => Uint8Array | void): void {
  const bytes = new Uint8Array(fs.readFileSync(file));
  fs.writeFileSync(file, change(bytes) ?? bytes);
}

// deno-lint-ignore no-explicit-any
type ErrorClass = new (...args: any[]) => MultifdError;

const DAMAGES: [string, string, (bytes: Uint8Array) => Uint8Array | void, ErrorClass, RegExp][] = [
  ["a channel cut short", "ch1.bin", (b) => b.subarray(0, -700), PeerClosedError, /channel 1/],
  ["the main channel cut short", "main.bin", (b) => b.subarray(0, -1), PeerClosedError, /main/],
  [
    "bytes after the end of the main channel",
    "main.bin",
    (b) => Uint8Array.from([...b, 0]),
    ProtocolError,
    /after the VM description/,
  ],
  [
    "a packet after the end of a channel",
    "ch0.bin",
    (b) => Uint8Array.from([...b, ...b.subarray(64 + 1344, 64 + 3 * 1344)]),
    MultifdError,
    /channel 0/,
  ],
  [
    "a channel's magic",
    "ch0.bin",
    (b) => void (b[64] = 0),
    ProtocolError,
    /wrong magic: expected 0x11223344, received 0x223344 \(channel 0, packet 0\)/,
  ],
  [
    "a block's length",
    "main.bin",
    (b) => void (b[148]! ^= 1),
    ProtocolError,
    /longer than the total leaves: .* \(main channel, offset 0x[0-9a-f]+\)$/,
  ],
  [
    "a device's section",
    "main.bin",
    (b) => void (b[b.length - 43852 - 11] = 0x7d),
    MultifdError,
    /main channel/,
  ],
  [
    "compressed data",
    "ch1.bin",
    (b) => void b.fill(0xa5, 64 + 2 * 1344 + 30, 64 + 2 * 1344 + 60),
    VerificationError,
    /Cannot decode qatzip, payload is corrupt.*channel 1, packet 1, block "pc.ram"/,
  ],
];

for (const [what, file, change, ErrorClass, message] of DAMAGES) {
  test(`inspect() finds damage: ${what}`, async () => {
    const directory = copyOf("qatzip");
    damage(path.join(directory, file), change);
    const error = await assertRejects(() => inspect(directory), ErrorClass);
    assertMatch(error.message, message);
    fs.rmSync(path.dirname(directory), { recursive: true });
  });
}

test("inspect() extracts a recording as a directory that it verifies and send() takes", async () => {
  const out = path.join(temporaryDirectory(), "vm");
  const report = await inspect(path.join(testdata, "zstd"), { extract: out });
  const again = await inspect(out);
  assert(again.kind === "directory");
  assertEquals(again.blocks, report.blocks);
  assertEquals(again.tail, report.tail);
  const receiver = await startReceiver();
  await send({ image: out, to: receiver.address, method: "qpl" });
  const received = await receiver.received;
  assertEquals(received.blocks, report.blocks);
  assertEquals(received.tail, report.tail);
  assertEquals(received.machine, "pc-q35-10.0");
  fs.rmSync(path.dirname(out), { recursive: true });
});

test("inspect() finds a changed byte in a received directory", async () => {
  const out = path.join(temporaryDirectory(), "vm");
  await inspect(path.join(testdata, "none"), { extract: out });
  damage(path.join(out, "pc.bios"), (bytes) => void (bytes[77]! ^= 1));
  const error = await assertRejects(() => inspect(out), VerificationError, "sha256");
  assertEquals(error.facts.block, "pc.bios");
  damage(path.join(out, "pc.bios"), (bytes) => void (bytes[77]! ^= 1));
  damage(path.join(out, "device-state.bin"), (bytes) => void (bytes[77]! ^= 1));
  await assertRejects(() => inspect(out), VerificationError, "device-state.bin");
  fs.rmSync(path.dirname(out), { recursive: true });
});

test("receive() records what inspect() plays back", async () => {
  const directory = temporaryDirectory();
  const record = path.join(directory, "recording");
  const receiver = await startReceiver({ record });
  await send({ image: guest(), to: receiver.address, method: "zlib", channels: 3 });
  const { blocks } = await receiver.received;
  assertEquals(fs.readdirSync(record).sort(), [
    "ch0.bin",
    "ch1.bin",
    "ch2.bin",
    "expected.json",
    "main.bin",
  ]);
  assertEquals((await inspect(record)).blocks, blocks);
  fs.rmSync(directory, { recursive: true });
});

test("inspect() says what it can inspect", async () => {
  const directory = temporaryDirectory();
  await assertRejects(() => inspect(directory), ImageError, "neither main.bin");
  fs.rmdirSync(directory);
});

test("inspect() and convert() tell how far they are, and stop when they shall", async () => {
  const folder = temporaryDirectory();
  const [directory, file] = [path.join(folder, "vm"), path.join(folder, "vm.mapped")];
  const image = guest();
  const total = image.blocks.reduce((sum, { usedLength }) => sum + usedLength, 0);
  const { address, received } = await startReceiver({ into: directory });
  await Promise.all([send({ image, to: address }), received]);
  await convert({ source: directory, out: file });
  const out = path.join(folder, "out");
  const readers = [
    (options: ReadingOptions) => inspect(directory, options),
    (options: ReadingOptions) => inspect(file, options),
    (options: ReadingOptions) => convert({ source: directory, out, ...options }),
  ];
  for (const read of readers) {
    const told: number[][] = [];
    const stop = new AbortController();
    const onProgress = (...figures: number[]): void => {
      told.push(figures);
      if (told.length === 2) stop.abort(new Error("enough"));
    };
    await assertRejects(() => read({ onProgress, signal: stop.signal }), CancelledError, "enough");
    assertEquals(told.map(([, all]) => all), [total, total]);
    assert(told[1]![0]! > 0 && told[1]![0]! < total);
  }
  assertEquals(fs.existsSync(out), false);
  fs.rmSync(folder, { recursive: true });
});

test("receive() says that the image is complete where its recording cannot be", async () => {
  const folder = temporaryDirectory();
  const [into, record] = [path.join(folder, "vm"), path.join(folder, "recording")];
  const { address, received } = await startReceiver({ into, record });
  fs.mkdirSync(path.join(record, "expected.json"));
  const failed = assertRejects(() => received, ImageError, "The image is complete, but not");
  await send({ image: guest(), to: address });
  await failed;
  assertEquals((await inspect(into)).kind, "directory");
  fs.rmSync(folder, { recursive: true });
});
