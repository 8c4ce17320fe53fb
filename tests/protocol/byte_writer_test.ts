import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { ByteWriter } from "../../src/protocol/byte_writer.ts";

test("ByteWriter keeps every byte, wherever it has to grow", () => {
  for (let before = 0; before < 600; before++) {
    const bytes = new ByteWriter().raw(new Uint8Array(before)).u8(7).name("x").u16(258).u32(1)
      .u64(2).done();
    assertEquals(
      [...bytes.subarray(before)],
      [7, 1, 0x78, 1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2],
      `behind ${before} bytes`,
    );
  }
});
