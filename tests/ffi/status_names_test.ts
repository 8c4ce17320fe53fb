/** What a person reads of libqpl's and QATzip's statuses. */
import { test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type DeviceLibrary, statusAdvice, statusName } from "../../ffi/status_names.ts";

/** STATUS_WRONG_LENGTH of counts.h. */
const WRONG_LENGTH = 1000;

const range = (first: number, last: number): number[] =>
  Array.from({ length: last - first + 1 }, (_, i) => first + i);

/** The statuses of native-libraries.md, and those that the shim may meet besides. */
const STATUSES: Record<DeviceLibrary, number[]> = {
  qpl: [
    ...range(0, 8),
    ...range(50, 59),
    ...range(100, 106),
    ...range(201, 233),
    ...[235, 236, 300, 301, 303, 304],
    ...range(325, 336),
    ...[431, 432, ...range(500, 503)],
  ],
  qatzip: [
    ...[0, 1, 2, ...range(11, 16), 100],
    ...[-1, -2, -3, -4, -5, -100, ...range(-105, -101), ...range(-119, -116), -200],
  ],
};

/** The first and last of each family, from the headers. */
const NAMES: [DeviceLibrary, number, string][] = [
  ["qpl", 0, "QPL_STS_OK (0)"],
  ["qpl", 2, "QPL_STS_MORE_OUTPUT_NEEDED (2)"],
  ["qpl", 5, "QPL_STS_QUEUES_ARE_BUSY_ERR (5)"],
  ["qpl", 8, "QPL_STS_NOT_SUPPORTED_BY_WQ (8)"],
  ["qpl", 50, "QPL_STS_NULL_PTR_ERR (50)"],
  ["qpl", 59, "QPL_STS_BUFFER_OVERLAP_ERR (59)"],
  ["qpl", 100, "QPL_STS_INVALID_DEFLATE_DATA_ERR (100)"],
  ["qpl", 106, "QPL_STS_OBJECT_ALLOCATION_ERR (106)"],
  ["qpl", 201, "QPL_STS_BIG_HEADER_ERR (201)"],
  ["qpl", 217, "QPL_STS_BAD_DIST_ERR (217)"],
  ["qpl", 219, "QPL_STS_TIMEOUT_ERR (219)"],
  ["qpl", 235, "QPL_STS_TOO_MANY_LL_CODES_ERR (235)"],
  ["qpl", 236, "QPL_STS_TOO_MANY_D_CODES_ERR (236)"],
  ["qpl", 303, "QPL_STS_INTL_PAGE_FAULT (303)"],
  ["qpl", 311, "QPL_STS_INTL_OUTPUT_OVERFLOW (311)"],
  ["qpl", 319, "QPL_STS_TRANSFER_SIZE_INVALID (319)"],
  ["qpl", 336, "QPL_STS_INTL_WATCHDOG_TIMER_EXPIRE (336)"],
  ["qpl", 431, "QPL_STS_INTL_W_PAGE_FAULT (431)"],
  ["qpl", 454, "QPL_STS_INTL_W_TRANSLATION_PF (454)"],
  ["qpl", 503, "QPL_STS_INIT_WORK_QUEUES_NOT_AVAILABLE (503)"],
  ["qpl", 234, "libqpl status 234"],
  ["qpl", 9, "libqpl status 9"],
  ["qpl", -101, "libqpl status -101"],
  ["qpl", WRONG_LENGTH, "wrong length"],
  ["qatzip", -1, "QZ_PARAMS (-1)"],
  ["qatzip", -5, "QZ_TIMEOUT (-5)"],
  ["qatzip", -101, "QZ_NOSW_NO_HW (-101)"],
  ["qatzip", -104, "QZ_NOSW_LOW_MEM (-104)"],
  ["qatzip", -116, "QZ_NOSW_UNSUPPORTED_FMT (-116)"],
  ["qatzip", 14, "QZ_LOW_MEM (14)"],
  ["qatzip", 503, "QATzip status 503"],
  ["qatzip", WRONG_LENGTH, "wrong length"],
];

test("statusName() gives the header's name and the number", () => {
  for (const [library, status, name] of NAMES) assertEquals(statusName(library, status), name);
});

test("statusName() knows every status that may come, and no two are called alike", () => {
  for (const library of ["qpl", "qatzip"] as const) {
    const names = STATUSES[library].map((status) => statusName(library, status));
    for (const name of names) assertMatch(name, /^(QPL_STS|QZ)_[A-Z0-9_]+ \(-?\d+\)$/);
    assertEquals(new Set(names).size, names.length);
  }
});

test("statusAdvice() tells what to do where a person can do something", () => {
  const advice: [DeviceLibrary, number, RegExp][] = [
    ["qpl", 8, /op_config/],
    ["qpl", 500, /5\.18/],
    ["qpl", 501, /libaccel-config/],
    ["qpl", 503, /shared mode.*socket.*\/dev\/iax\/wq\*/],
    ["qatzip", -101, /qat service.*\/dev\/vfio.*group qat/],
    ["qatzip", 11, /qat service/],
    ["qatzip", -102, /usdm_drv/],
    ["qatzip", -103, /ServicesEnabled/],
    ["qatzip", -104, /ulimit -l/],
    ["qatzip", 15, /ulimit -l/],
    ["qatzip", 16, /64 KiB/],
  ];
  for (const [library, status, pattern] of advice) {
    assertMatch(statusAdvice(library, status) ?? "", pattern);
  }
});

test("statusAdvice() is a clause for the end of a sentence, or undefined", () => {
  for (const library of ["qpl", "qatzip"] as const) {
    for (const status of [...STATUSES[library], WRONG_LENGTH]) {
      const advice = statusAdvice(library, status);
      assert(advice === undefined || /^[a-z].*[^.]$/.test(advice), advice);
    }
  }
  assertEquals(statusAdvice("qpl", 0), undefined);
  assertEquals(statusAdvice("qatzip", 0), undefined);
  assertEquals(statusAdvice("qpl", 9999), undefined);
});
