import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { guestMappings, parseSmaps } from "../../src/advise/smaps.ts";

/** Of a QEMU 10.0 with 192 MiB and a memfd of 64 MiB, shortened. */
const SMAPS = `558f4a000000-558f4b205000 rw-p 00000000 00:00 0                          [heap]
Size:              18452 kB
VmFlags: rd wr mr mw me ac
7f1a14000000-7f1a20000000 rw-p 00000000 00:00 0
Size:             196608 kB
Rss:                   0 kB
VmFlags: rd wr mr mw me dc ac hg mg
7f1a28000000-7f1a2c000000 rw-s 00000000 00:01 1037                       /memfd:memory-backend-memfd (deleted)
VmFlags: rd wr sh mr mw me ms dc hg
7f1a2c000000-7f1a6bfff000 rwxp 00000000 00:00 0
Size:            1048572 kB
VmFlags: rd wr ex mr mw me ac hg
7f1a70000000-7f1a73fe0000 ---p 00000000 00:00 0
VmFlags: mr mw me nr
7f1a74000000-7f1a74800000 rw-p 00000000 00:00 0
VmFlags: rd wr mr mw me ac nh
7f1a75000000-7f1a75040000 rw-p 00000000 00:00 0
VmFlags: rd wr mr mw me dc ac hg mg
7f1a76000000-7f1a76400000 r-xp 00025000 fe:00 131                        /usr/bin/qemu-system-x86_64
VmFlags: rd ex mr mw me
`;

test("guestMappings() finds a QEMU's RAM blocks, not its code, its heap or its stacks", () => {
  const found = guestMappings(parseSmaps(SMAPS));
  assertEquals(found.map(({ start, end, name }) => [(end - start) / 2 ** 20, name]), [
    [192, ""],
    [64, "/memfd:memory-backend-memfd (deleted)"],
    [0.25, ""],
  ]);
  assertEquals(found[0]!.start, 0x7f1a14000000);
});

test("guestMappings() takes the biggest anonymous memory where none is marked", () => {
  const unmarked = SMAPS.replaceAll(" dc", "");
  const found = guestMappings(parseSmaps(unmarked));
  assertEquals(found.map(({ start, end }) => (end - start) / 2 ** 20), [192]);
});

test("guestMappings() finds nothing in a process without memory of its own", () => {
  const code = SMAPS.split("\n").slice(-3).join("\n");
  assertEquals(guestMappings(parseSmaps(code)), []);
});
