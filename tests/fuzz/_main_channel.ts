/** The main channel's parsers: the whole stream, its configuration, and what follows the RAM. */
import fs from "node:fs";
import { assert, assertEquals } from "@std/assert";
import { PeerClosedError } from "../../src/errors.ts";
import { type Configuration, readConfiguration } from "../../src/protocol/configuration.ts";
import { MainChannelBytes } from "../../src/protocol/main_channel_bytes.ts";
import type { MainChannelEvent } from "../../src/protocol/main_channel_event.ts";
import { MainChannelReader } from "../../src/protocol/main_channel_reader.ts";
import { parseVmTail, VmTailReader } from "../../src/protocol/vm_tail.ts";
import {
  command,
  concat,
  configuration as head,
  description,
  device,
  end,
  EOS,
  FLUSH,
  footer,
  memSize,
  name,
  PAGE,
  part,
  PER_SECTION,
  record,
  recording,
  ROUND,
  start,
  startHead,
  stream,
  subsection,
  tail,
  text,
  u16,
  u32,
} from "../protocol/_build.ts";
import { Random } from "../_random.ts";
import {
  bigEndian,
  damaged,
  damagedAtEnds,
  extremeNumber,
  type FieldSize,
  pieces,
  withAnything,
} from "./_mutate.ts";
import { bytesOf, only, type Target } from "./_target.ts";

const CPU = { name: "cpu", body: new Random(1).bytes(8) };

/** Valid streams of every kind of piece. */
const STREAMS = [
  stream({ tail: tail(CPU) }),
  stream({ part: part(record(2, PAGE), name("pc.ram"), [0], record(0x22), [0], EOS) }, PER_SECTION),
  stream({
    head: head(
      "virt",
      subsection("configuration/target-page-bits", u32(16)),
      subsection("configuration/uuid", new Uint8Array(16).fill(7)),
    ),
    start: start(memSize([{ name: "pc.ram", usedLength: 65536 }]), FLUSH, EOS),
  }),
  stream({ commands: concat(command(1), command(2, u32(7)), command(11)) }),
];

/** Streams of valid framing with an extreme number in one field. */
function extremeStream(random: Random): Uint8Array {
  const number = (size: FieldSize) => bigEndian(extremeNumber(size, random), size);
  const pages = extremeNumber(8, random) & ~0xfffn;
  const filled = concat(name("pc.ram"), new Uint8Array(PAGE));
  const sized = (...blocks: Uint8Array[]) => concat(startHead(), ...blocks, FLUSH, EOS, footer());
  const flagged = record(random.pick([0x02, 0x04, 0x08, 0x22, 0x28, 0x40, 0x80, 0x200]), pages);
  const ram = concat(name("pc.ram"), number(8));
  return random.pick([
    () => stream({ head: concat(text("QEVM"), u32(3), [7], number(4), text("pc")) }),
    () => stream({ head: concat(number(4), number(4), [7], u32(2), text("pc")) }),
    () => stream({ commands: concat([8], number(2), u16(random.pick([0, 4])), number(4)) }),
    () => stream({ commands: concat([8], u16(2), number(2), number(4)) }),
    () => stream({ start: sized(number(8)) }),
    () => stream({ start: sized(record(4, PAGE), ram) }),
    () => stream({ start: sized(record(4, 2 * PAGE), ram, ram) }),
    () => stream({ start: sized(record(4, pages), ram, concat(name("a"), number(8))) }),
    () => stream({ start: concat([1], number(4), name("ram"), number(4), number(4), EOS) }),
    () => stream({ part: part(number(8), filled, EOS) }),
    () => stream({ part: part(flagged, filled, EOS) }),
    () => stream({ part: part(flagged, filled, EOS) }, PER_SECTION),
    () => stream({ end: end(flagged, filled, FLUSH, EOS) }),
    () => stream({ end: end(EOS) }),
    () => stream({ part: concat([2], number(4), EOS, footer()) }),
    () => stream({ part: concat([2], u32(2), EOS, [0x7e], number(4)) }),
    () => stream({ part: concat(number(1), u32(2), EOS, footer()) }),
    () => stream({ tail: concat([0, 6], number(4), text("{}")) }),
  ])();
}

/** A valid stream with its pieces left out, repeated or in another order. */
function shuffledStream(random: Random): Uint8Array {
  const list = Object.values(random.pick([ROUND, PER_SECTION]));
  const [from, to] = [random.below(list.length), random.below(list.length)];
  const [piece] = list.splice(from, 1);
  if (random.below(3) > 0) list.splice(to, 0, piece!, ...(random.below(2) === 0 ? [piece!] : []));
  return concat(...list);
}

/** What a reader tells of these pieces: its events without their bytes, and its error. */
function told(chunks: Iterable<Uint8Array>): { events: string[]; error: unknown } {
  const reader = new MainChannelReader();
  const events: string[] = [];
  let error: unknown;
  try {
    for (const chunk of chunks) {
      for (const event of reader.push(chunk)) events.push(brief(event));
    }
    reader.end();
  } catch (thrown) {
    error = thrown;
    // behind the end, a split alone decides whether the end is told before the bytes too many
    if ((thrown as Error).message.startsWith("Stream goes on after the VM desc")) throw thrown;
    events.push(`${thrown}`);
  }
  return { events, error };
}

function brief(event: MainChannelEvent): string {
  if (event.type === "end") return JSON.stringify(["end", event.tail.devices]);
  if (event.type === "blocks") checkBlocks(event.blocks);
  return JSON.stringify(event, (key, value) => key === "data" ? undefined : value);
}

function checkBlocks(blocks: readonly { usedLength: number }[]): void {
  const total = blocks.reduce((sum, block) => sum + block.usedLength, 0);
  assert(total > 0 && total <= 1024 ** 4 && blocks.length <= 4096, `RAM of ${total} bytes`);
}

/**
 * An unfinished stream goes on with zeros: outside the tail, whose bound is 256 MiB, no wait is
 * longer than a page, so soon they must be refused.
 */
function checkWaitIsShort(bytes: Uint8Array): void {
  const reader = new MainChannelReader();
  try {
    for (const event of reader.push(bytes)) if (event.type === "ram-end") return;
    for (let i = 0; i < 4; i++) {
      for (const event of reader.push(new Uint8Array(65536))) {
        if (event.type === "ram-end") return;
      }
    }
  } catch {
    return;
  }
  throw new Error(`still waiting for ${reader.expecting}`);
}

const mainChannel: Target = {
  name: "main-channel",
  generate(random) {
    const make = random.pick([
      () => random.pick(STREAMS),
      () => damaged(random.pick(STREAMS), random),
      () => damaged(random.pick(STREAMS), random),
      () => extremeStream(random),
      () => extremeStream(random),
      () => shuffledStream(random),
    ]);
    return only(make(), { split: random.u32(), most: random.pick([1, 40, 500]) });
  },
  run(input) {
    const bytes = bytesOf(input);
    const { split, most } = input.options as { split: number; most: number };
    const { events, error } = told([bytes]);
    const again = told(pieces(bytes, most, new Random(split)));
    assertEquals(again.events, events);
    if (error === undefined) return;
    if (error instanceof PeerClosedError) checkWaitIsShort(bytes);
    throw error;
  },
};

const CONFIGURATION_START = 8;

const configuration: Target = {
  name: "configuration",
  generate(random) {
    const capabilities = Array.from(
      { length: random.below(3) },
      () => random.pick(["mapped-ram", "x-ignore-shared", ""]),
    );
    const subsections = [
      subsection("configuration/target-page-bits", u32(random.pick([12, 14, 16, 11, 17]))),
      subsection("configuration/uuid", random.bytes(16)),
      subsection("configuration/capabilities", u32(capabilities.length), ...capabilities.map(name)),
      subsection(random.pick(["configuration/other", "x".repeat(255), "\u00e9"])),
    ].filter((_, i) => random.below(i < 2 ? 2 : 6) === 0);
    const machine = random.pick(["pc-q35-10.0", "virt", "x".repeat(255), "x".repeat(256), ""]);
    const valid = head(machine, ...subsections).subarray(CONFIGURATION_START);
    const bytes = random.below(2) === 0 ? valid : damaged(valid, random);
    return only(bytes, { isFile: random.below(4) === 0 });
  },
  run(input) {
    const bytes = new MainChannelBytes();
    const steps = readConfiguration(bytes, input.options.isFile as boolean);
    // zeros follow: whatever is announced, the wait for it ends
    for (const chunk of [bytesOf(input), new Uint8Array(65536)]) {
      bytes.push(chunk);
      const { done, value } = steps.next();
      if (done) return checkConfiguration(value);
    }
    throw new Error(`still waiting for ${bytes.expecting}`);
  },
};

function checkConfiguration({ machine, pageSize, uuid, capabilities }: Configuration): void {
  assert(machine.length > 0 && machine.length <= 255);
  assert(pageSize === undefined || [4096, 8192, 16384, 32768, 65536].includes(pageSize));
  assert(uuid === undefined || uuid.length === 16);
  assert(capabilities.length <= 64);
}

const KEYS = ["name", "instance_id", "fields", "size", "array_len", "subsections", "vmsd_name"];

/** A tail whose description says anything of its one device. */
function tailOfAnyJson(random: Random): Uint8Array {
  const says = {
    devices: [{
      name: "cpu",
      instance_id: 0,
      fields: [{ size: random.pick([8, 4, 1]), array_len: random.pick([1, 2, 8]) }],
      ...(random.below(2) === 0
        ? { subsections: [{ vmsd_name: "s", fields: [{ size: 8 }] }] }
        : {}),
    }],
  };
  const changed = withAnything(says, random, KEYS);
  return concat(device(10, CPU), description(JSON.stringify(changed)));
}

/** What follows the RAM in recordings of real QEMUs. */
const REAL_TAILS = ["zstd", "qemu-7.2-zlib"].map((folder) => {
  const url = new URL(`../testdata/recordings/${folder}/expected.json`, import.meta.url);
  const { device_state_bytes } = JSON.parse(fs.readFileSync(url, "utf8")) as Record<string, number>;
  return recording(`${folder}/main.bin`).slice(-device_state_bytes!);
});

const vmTail: Target = {
  name: "vm-tail",
  generate(random) {
    const small = [tail(CPU, { ...CPU, instance: 1 }), description("{}"), tail(CPU)];
    const make = random.pick([
      () => random.pick(small),
      () => damaged(random.pick(small), random),
      () => damaged(random.pick(small), random),
      () => tailOfAnyJson(random),
      () => tailOfAnyJson(random),
      () =>
        random.below(8) > 0
          ? damaged(random.pick(small), random)
          : damagedAtEnds(random.pick(REAL_TAILS), 20_000, random),
    ]);
    return only(make(), { split: random.u32(), most: random.pick([200, 5000, 100_000]) });
  },
  run(input) {
    const bytes = bytesOf(input);
    const { split, most } = input.options as { split: number; most: number };
    const whole = parseVmTail(bytes, "tail");
    assertEquals(whole.bytes.length, bytes.length);
    const described = whole.devices.reduce((sum, device) => sum + device.bytes, 0);
    const sections = bytes.length - 6 - whole.descriptionBytes;
    assert(described === sections || whole.devices.length === 0, "a device has another size");
    const reader = new VmTailReader(footer());
    const found = [...pieces(bytes, most, new Random(split))].map((piece) => reader.push(piece));
    assertEquals(found.at(-1), whole);
  },
};

/** Main channel, configuration, VM tail. */
export const MAIN_CHANNEL_TARGETS: readonly Target[] = [mainChannel, configuration, vmTail];
