/** A file name for a RAM block: names from the wire cannot leave the directory or collide. */

/** Names the directory keeps for itself. */
const RESERVED = new Set(["migration.json", "device-state.bin"]);
const MAX_LENGTH = 200;

/**
 * The name of a block's file. Bytes outside `A-Za-z0-9._@-` become `%XX`, so two
 * blocks never get one name; long names are cut and carry the block's ordinal.
 *
 * @param name The block's name.
 * @param index The block's ordinal.
 */
export function blockFileName(name: string, index: number): string {
  let escaped = "";
  for (const byte of new TextEncoder().encode(name)) {
    const char = String.fromCharCode(byte);
    const hidden = char === "." && escaped === "";
    escaped += /[A-Za-z0-9._@-]/.test(char) && !hidden ? char : percent(byte);
  }
  if (RESERVED.has(escaped.toLowerCase())) {
    escaped = percent(escaped.charCodeAt(0)) + escaped.slice(1);
  }
  return escaped.length > MAX_LENGTH ? `${escaped.slice(0, MAX_LENGTH)}~${index}` : escaped;
}

function percent(byte: number): string {
  return `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}
