/** The main channel's constants, which its reader and writer share. */
/** First four bytes of the main channel: "QEVM". */
export const MAIN_MAGIC = 0x5145564d;
/** The one version of the migration stream. */
export const MAIN_VERSION = 3;

/** Type bytes of the stream's parts. */
export const SECTION = {
  EOF: 0x00,
  START: 0x01,
  PART: 0x02,
  END: 0x03,
  FULL: 0x04,
  SUBSECTION: 0x05,
  VMDESCRIPTION: 0x06,
  CONFIGURATION: 0x07,
  COMMAND: 0x08,
  FOOTER: 0x7e,
} as const;

/** Commands a multifd source sends. */
export const COMMAND = { OPEN_RETURN_PATH: 1, PING: 2, SWITCHOVER_START: 11 } as const;

/** Flags of a record in a RAM section's body. */
export const RECORD = {
  ZERO: 0x002,
  MEM_SIZE: 0x004,
  PAGE: 0x008,
  EOS: 0x010,
  CONTINUE: 0x020,
  XBZRLE: 0x040,
  HOOK: 0x080,
  MULTIFD_FLUSH: 0x200,
} as const;

/** Version of the ram section that QEMU 7.2 to 10 write. */
export const RAM_SECTION_VERSION = 4;

/**
 * How the main channel marks a sync: with a `MULTIFD_FLUSH` record per round
 * (machine types >= 8.1), or with the end of every RAM section.
 */
export type SyncMode = "round" | "section";
