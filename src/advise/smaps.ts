/** Which of a process's mappings are its guest's RAM. */

/** A mapping of a process. */
export interface Mapping {
  /** First address. */
  start: number;
  /** Address after the last one. */
  end: number;
  /** `rw-p` and the like. */
  permissions: string;
  /** The file behind it, or the kernel's name for it; empty for anonymous memory. */
  name: string;
  /** The kernel's two-letter flags. */
  flags: readonly string[];
}

const HEAD = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+ *(.*)$/;

/** Reads `/proc/PID/smaps`. */
export function parseSmaps(text: string): Mapping[] {
  const mappings: Mapping[] = [];
  for (const line of text.split("\n")) {
    const head = HEAD.exec(line);
    if (head !== null) {
      const [start, end] = [head[1]!, head[2]!].map((address) => parseInt(address, 16));
      mappings.push({
        start: start!,
        end: end!,
        permissions: head[3]!,
        name: head[4]!,
        flags: [],
      });
    } else if (line.startsWith("VmFlags:")) {
      mappings.at(-1)!.flags = line.slice("VmFlags:".length).trim().split(" ");
    }
  }
  return mappings;
}

/**
 * The mappings that are guest RAM. QEMU keeps each RAM block from being copied on fork ("dc")
 * and nothing else that can be written; failing that it is the biggest memory without a disk
 * behind it.
 */
export function guestMappings(mappings: readonly Mapping[]): Mapping[] {
  const memory = mappings.filter(({ permissions, name }) =>
    permissions.startsWith("rw-") && !name.startsWith("[")
  );
  const marked = memory.filter(({ flags }) => flags.includes("dc"));
  if (marked.length > 0) return marked;
  const size = ({ start, end }: Mapping): number => end - start;
  const anonymous = memory.filter(({ name }) => name === "" || name.startsWith("/memfd:"));
  return anonymous.sort((a, b) => size(b) - size(a)).slice(0, 1);
}
