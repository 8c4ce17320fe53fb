/** The statuses that libqpl and QATzip give: their own names, and what a person can do about some. */

/** A library that has a device. */
export type DeviceLibrary = "qpl" | "qatzip";

/** STATUS_WRONG_LENGTH of counts.h: the shim's own, whatever the library. */
const WRONG_LENGTH = 1000;

/** A family of libqpl's statuses: the number of the first, and their names without QPL_STS_. */
const QPL_FAMILIES: readonly (readonly [first: number, names: readonly (string | undefined)[]])[] =
  [
    [0, [
      "OK",
      "BEING_PROCESSED",
      "MORE_OUTPUT_NEEDED",
      "MORE_INPUT_NEEDED",
      "JOB_NOT_CONTINUABLE_ERR",
      "QUEUES_ARE_BUSY_ERR",
      "LIBRARY_INTERNAL_ERR",
      "JOB_NOT_SUBMITTED",
      "NOT_SUPPORTED_BY_WQ",
    ]],
    [50, [
      "NULL_PTR_ERR",
      "OPERATION_ERR",
      "NOT_SUPPORTED_MODE_ERR",
      "BAD_JOB_STRUCT_ERR",
      "PATH_ERR",
      "INVALID_PARAM_ERR",
      "FLAG_CONFLICT_ERR",
      "SIZE_ERR",
      "BUFFER_TOO_LARGE_ERR",
      "BUFFER_OVERLAP_ERR",
    ]],
    [100, [
      "INVALID_DEFLATE_DATA_ERR",
      "NO_MEM_ERR",
      "INDEX_ARRAY_TOO_SMALL",
      "INDEX_GENERATION_ERR",
      "ARCHIVE_HEADER_ERR",
      "ARCHIVE_UNSUP_METHOD_ERR",
      "OBJECT_ALLOCATION_ERR",
    ]],
    [201, [
      "BIG_HEADER_ERR",
      "UNDEF_CL_CODE_ERR",
      "FIRST_LL_CODE_16_ERR",
      "FIRST_D_CODE_16_ERR",
      "NO_LL_CODE_ERR",
      "WRONG_NUM_LL_CODES_ERR",
      "WRONG_NUM_DIST_CODES_ERR",
      "BAD_CL_CODE_LEN_ERR",
      "BAD_LL_CODE_LEN_ERR",
      "BAD_DIST_CODE_LEN_ERR",
      "BAD_LL_CODE_ERR",
      "BAD_D_CODE_ERR",
      "INVALID_BLOCK_TYPE",
      "INVALID_STORED_LEN_ERR",
      "BAD_EOF_ERR",
      "BAD_LEN_ERR",
      "BAD_DIST_ERR",
      "REF_BEFORE_START_ERR",
      "TIMEOUT_ERR",
      "PRLE_FORMAT_ERR",
      "OUTPUT_OVERFLOW_ERR",
      "INTL_AECS_ERR",
      "SRC1_TOO_SMALL_ERR",
      "SRC2_IS_SHORT_ERR",
      "DST_IS_SHORT_ERR",
      "INTL_DIST_SPANS_MINI_BLOCKS",
      "INTL_LEN_SPANS_MINI_BLOCKS",
      "INTL_VERIF_INVALID_BLOCK_SIZE",
      "INTL_VERIFY_ERR",
      "INVALID_HUFFCODE_ERR",
      "BIT_WIDTH_ERR",
      "SRC_IS_SHORT_ERR",
      "INTL_INVALID_COUNT",
      undefined,
      "TOO_MANY_LL_CODES_ERR",
      "TOO_MANY_D_CODES_ERR",
    ]],
    [300, ["INTL_INPROG", "INTL_SUCCESS", undefined, "INTL_PAGE_FAULT", "INTL_INVALID_PAGE_REQ"]],
    [310, ["INTL_ANALYTIC_ERROR", "INTL_OUTPUT_OVERFLOW"]],
    [316, [
      "INTL_UNSUPPORTED_OPCODE",
      "INTL_INVALID_OP_FLAG",
      "INTL_NONZERO_RESERVED_FIELD",
      "TRANSFER_SIZE_INVALID",
    ]],
    [322, ["INTL_OVERLAPPING_BUFFERS"]],
    [325, [
      "INTL_INVALID_COMP_HANDLE",
      "INTL_TRANSLATION_PAGE_FAULT",
      "INTL_COMPL_RECORD_UNALIGN",
      "INTL_MISALIGNED_ADDRESS",
      "INTL_PRIVILIGE_ERROR",
      "INTL_TRAFFIC_CLASS_ERROR",
      "INTL_DRAIN_PAGE_FAULT",
      "INTL_INVALID_UR_CA_RESPONSE",
      "INTL_READBACK_TIMEOUT",
      "INTL_HARDWARE_TIMEOUT",
      "INTL_PAGE_REQUEST_TIMEOUT",
      "INTL_WATCHDOG_TIMER_EXPIRE",
    ]],
    [431, ["INTL_W_PAGE_FAULT", "INTL_W_INVALID_PAGE_REQ"]],
    [454, ["INTL_W_TRANSLATION_PF"]],
    [500, [
      "INIT_HW_NOT_SUPPORTED",
      "INIT_LIBACCEL_NOT_FOUND",
      "INIT_LIBACCEL_ERROR",
      "INIT_WORK_QUEUES_NOT_AVAILABLE",
    ]],
  ];

/** QATzip's statuses, without QZ_. */
const QZ_NAMES: Readonly<Record<number, string>> = {
  0: "OK",
  1: "DUPLICATE",
  2: "FORCE_SW",
  11: "NO_HW",
  12: "NO_MDRV",
  13: "NO_INST_ATTACH",
  14: "LOW_MEM",
  15: "LOW_DEST_MEM",
  16: "UNSUPPORTED_FMT",
  100: "NONE",
  [-1]: "PARAMS",
  [-2]: "FAIL",
  [-3]: "BUF_ERROR",
  [-4]: "DATA_ERROR",
  [-5]: "TIMEOUT",
  [-100]: "INTEG",
  [-101]: "NOSW_NO_HW",
  [-102]: "NOSW_NO_MDRV",
  [-103]: "NOSW_NO_INST_ATTACH",
  [-104]: "NOSW_LOW_MEM",
  [-105]: "NO_SW_AVAIL",
  [-116]: "NOSW_UNSUPPORTED_FMT",
  [-117]: "POST_PROCESS_ERROR",
  [-118]: "METADATA_OVERFLOW",
  [-119]: "OUT_OF_RANGE",
  [-200]: "NOT_SUPPORTED",
};

const PREFAULT =
  "keep the destination's memory populated: page faults make the device several times slower";
const HANGS = "the device does not answer in time: look at its state and the kernel's log";

/** What to do about libqpl's statuses. */
const QPL_ADVICE: Readonly<Record<number, string>> = {
  5: "the work queues are full: use fewer channels (4 fill a device), or enable more queues or devices",
  8: "the work queue forbids this operation: allow compress and decompress in its op_config",
  217:
    "the sender's streams reach back more than 4 KiB, which IAA cannot read: have it limit its window",
  219: HANGS,
  303: PREFAULT,
  319: "no work queue takes a page this large: raise max_transfer_size",
  333: HANGS,
  334: HANGS,
  335: HANGS,
  336: HANGS,
  431: PREFAULT,
  500: "this kernel or processor is not supported: IAA needs Linux 5.18 or later, with " +
    "intel_iommu=on,sm_on on its command line",
  501: "install libaccel-config (libaccel-config.so.1)",
  502: "libaccel-config fails: update it to the kernel's version",
  503: "enable a user-type work queue in shared mode (dedicated ones are not used) on this " +
    "socket, and allow reading and writing /dev/iax/wq*",
};

/** QATzip's statuses that let software stand in, and their twins that do not. */
const QZ_TWINS: Readonly<Record<number, number>> = {
  11: -101,
  12: -102,
  13: -103,
  14: -104,
  15: -104,
  16: -116,
};

/** What to do about QATzip's; their twins are not listed. */
const QZ_ADVICE: Readonly<Record<number, string>> = {
  [-3]: "the buffer is too small: this is a bug, please report it",
  [-4]: "the data is damaged: look at the sender, or have it verify what it sends (--verify)",
  [-5]: HANGS,
  [-100]: "the device's own integrity check failed: do not use it until it has been tested",
  [-101]: "no QAT device is usable: check that the qat service runs, that /dev/vfio is there, " +
    "and that this user is in the group qat",
  [-102]: "the memory driver is missing: load usdm_drv, or use qatlib, which needs none",
  [-103]:
    "no instance is free: check that ServicesEnabled has dc, and for others that use the device",
  [-104]: "pinned memory is short: raise the memlock limit (ulimit -l), or use fewer channels",
  [-116]: "the device does not take this format: have the sender make gzip members of 64 KiB",
};

/**
 * The library's name of a status, with its number.
 *
 * @param library Whose status it is.
 * @param status The status.
 * @returns Such as `QPL_STS_QUEUES_ARE_BUSY_ERR (5)`; only the number where it is none of the library's.
 */
export function statusName(library: DeviceLibrary, status: number): string {
  if (status === WRONG_LENGTH) return "wrong length";
  const name = library === "qpl" ? qplName(status) : QZ_NAMES[status];
  if (name === undefined) return `${library === "qpl" ? "libqpl" : "QATzip"} status ${status}`;
  return `${library === "qpl" ? "QPL_STS" : "QZ"}_${name} (${status})`;
}

/**
 * What a person can do about a status.
 *
 * @param library Whose status it is.
 * @param status The status.
 * @returns One sentence, without a capital or a full stop; undefined where there is nothing to do.
 */
export function statusAdvice(library: DeviceLibrary, status: number): string | undefined {
  if (status === WRONG_LENGTH) {
    return "the device reports success with wrong lengths: do not use it until it has been tested";
  }
  if (library === "qpl") return QPL_ADVICE[status];
  return QZ_ADVICE[QZ_TWINS[status] ?? status];
}

function qplName(status: number): string | undefined {
  for (const [first, names] of QPL_FAMILIES) {
    const name = names[status - first];
    if (name !== undefined) return name;
  }
  return undefined;
}
