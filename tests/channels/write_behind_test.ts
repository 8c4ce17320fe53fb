import { test } from "node:test";
import { assertEquals, assertThrows } from "@std/assert";
import { ImageError } from "../../mod.ts";
import { WriteBehind } from "../../src/channels/write_behind.ts";
import { GuestRam } from "../../src/ram/guest_ram.ts";

const PAGE = 4096;

/** A RAM whose writer is busy when it is told to be, and what it wrote. */
function makeRam() {
  const written: [offset: number, byte: number][] = [];
  const writer = {
    isBusy: false,
    fails: false,
    write(_block: number, offsets: Float64Array, pages: Uint8Array) {
      if (writer.fails) throw new ImageError("Cannot write", { code: "ENOSPC" });
      for (const [i, offset] of offsets.entries()) written.push([offset, pages[i * PAGE]!]);
    },
  };
  return {
    written,
    writer,
    ram: new GuestRam([{ name: "ram", usedLength: 64 * PAGE }], PAGE, writer),
  };
}

/** Writes a page of some byte as a packet would. */
function writePage(
  behind: WriteBehind,
  ram: GuestRam,
  packet: number,
  offsets: Float64Array,
): void {
  const pages = behind.room.subarray(0, PAGE).fill(packet);
  behind.write(ram, { packet, block: "ram", offsets, pages });
}

test("WriteBehind keeps one packet while another thread writes, in order and unharmed", () => {
  const { ram, writer, written } = makeRam();
  const behind = new WriteBehind((size) => new Uint8Array(size));
  const offsets = new Float64Array(1);
  writer.isBusy = true;
  for (let packet = 1; packet <= 3; packet++) {
    offsets[0] = packet * PAGE;
    writePage(behind, ram, packet, offsets);
    assertEquals(written.length, packet - 1);
  }
  behind.flush(ram);
  behind.flush(ram);
  writer.isBusy = false;
  offsets[0] = 4 * PAGE;
  writePage(behind, ram, 4, offsets);
  assertEquals(written, [1, 2, 3, 4].map((packet) => [packet * PAGE, packet]));
  assertEquals(ram.missing(), new Map([["ram", 60]]));
});

test("WriteBehind names the packet whose pages cannot be written, not the one that came since", () => {
  const { ram, writer } = makeRam();
  const behind = new WriteBehind((size) => new Uint8Array(size));
  writer.isBusy = true;
  writePage(behind, ram, 7, Float64Array.of(0));
  writer.fails = true;
  const error = assertThrows(() => writePage(behind, ram, 8, Float64Array.of(PAGE)), ImageError);
  assertEquals(error.facts, { packet: 7, block: "ram", code: "ENOSPC" });
});
