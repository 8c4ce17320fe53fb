import { test } from "node:test";
import { assertEquals, assertThrows } from "@std/assert";
import { ProtocolError } from "../../src/errors.ts";
import { none } from "../../src/methods/none.ts";
import { assertAllShapes, payloadsOf, SHAPES, somePages } from "./_pages.ts";

test("none carries packets of every size on one channel", async () => {
  await assertAllShapes(none);
});

test("none sends the pages as they are", async () => {
  const pages = somePages(3, 4096, 1);
  assertEquals(await payloadsOf(none, [pages, pages]), [pages, pages]);
});

test("none.checkPayloadSize() takes the pages' size and nothing else", () => {
  for (const { pageSize, counts } of SHAPES) {
    for (const count of counts) {
      const size = count * pageSize;
      none.checkPayloadSize(size, count, pageSize);
      for (const wrong of [0, 1, size - 1, size + 1, size + pageSize]) {
        assertThrows(
          () => none.checkPayloadSize(wrong, count, pageSize),
          ProtocolError,
          "wrong size",
        );
      }
    }
  }
});

test("none has no levels, no format and no method bit", () => {
  assertEquals([none.levels, none.format, none.flag], [undefined, undefined, 0]);
});
